// Package publish writes a store, and is the only package that does.
//
// [Open] takes a store's lock, creates the store if it does not exist, and completes or
// undoes the publication that a killed process left. The holder stages files with the
// methods of [Store], each at the path that it will have, and [Store.Publish] makes them
// part of the tree as one generation. What is written outside of a publication, and
// without the lock, is a [Note].
//
// # A store
//
// A store is a tree of OCI image layouts like any other, with a directory .layoutproxy:
//
//	store.json   format, generation, archives that are stored as they came
//	lock         held by whoever writes
//	staging/     what has no place in the tree yet
//	journal      while a generation is being published
//
// Publish has the file system write out everything that is staged. Only then it writes the
// journal: the old and the new bytes of each index.json that will change. From here on it
// fails only by a fault of the file system. Blobs are renamed to their places, then the
// indexes and archives, then store.json gets the new generation, and the journal goes.
// While a journal of a later generation exists, readers take the old side (see package
// journal): they see a publication completely or not at all, whenever the writer dies.
package publish
