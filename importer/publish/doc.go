// Package publish contains all code that writes to a store.
//
// [Open] takes a store's lock, creates the store if it does not exist, and completes or undoes the
// publication of a killed process. The process with the lock stages files with the methods of [Store].
// [Store.Publish] moves the staged files into the tree as one generation. A [Note] is a small file that is
// written without the lock, independent of publications.
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
// Publish first syncs all staged files to disk. Then it writes the journal, which has the old and the new
// bytes of each index.json that will change. From here on, only the file system can make Publish fail. It renames
// blobs to their places, then indexes and archives. Then it writes the new generation to store.json, and
// removes the journal. While there is a journal of a later generation, readers use the old bytes (see package
// journal). So whenever the writer dies, readers see a publication completely or not at all.
package publish
