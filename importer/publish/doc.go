// Package publish writes a store, and is the only package that does.
//
// [Open] takes a store's lock, creates the store if it does not exist, and completes or undoes
// the publication of a killed process. The lock holder stages files with the methods of
// [Store], each at its future path, and [Store.Publish] moves them into the tree as one
// generation. A [Note] is a file that is written outside of publications, without the lock.
//
// # A store
//
// A store is a tree of OCI image layouts like any other, with a directory .layoutproxy:
//
//	store.json   format, generation, archives that are kept packed
//	lock         held by the process that writes
//	staging/     files that are not in the tree yet
//	journal      while a generation is being published
//
// Publish first syncs everything staged to disk. Then it writes the journal: the old and the
// new bytes of each index.json that will change. From here on only the file system can make it
// fail. It renames blobs to their places, then indexes and archives, writes the new
// generation to store.json, and removes the journal. While a journal of a later generation
// exists, readers use the old bytes (see package journal): whenever the writer dies, they see a
// publication completely or not at all.
package publish
