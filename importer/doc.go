// Package importer makes bundles part of a store: wholly, verified, or not at all.
//
// Start with [New] and [Importer.Import], which reads one or more bundles (trees of
// layouts, archives, chunk sets) through package layoutstore, as a server would, and
// publishes what they hold as one generation of the store. [Importer.Recover]
// finishes what a process that was killed had begun to publish. [Importer.NewDrop]
// imports what is dropped into a directory.
//
// # A store
//
// A store is a tree of OCI image layouts like any other, with a directory
// .layoutproxy in it, which holds
//
//	store.json   format, generation, archives that were taken in as they came
//	lock         held by whoever writes
//	dropped.json bundles that could not be moved out of a drop directory, and files that leave it
//	staging/     what has no place in the tree yet
//	journal      while a generation is being published
//
// An import takes the lock, copies each blob that the store lacks into staging and
// proves its digest while it does, has the file system write everything out, and only
// then writes the journal: the old and the new bytes of each index.json that will
// change. From here on it cannot fail but by a fault of the file system. Blobs are
// renamed to their places, then the indexes, then store.json says the new generation,
// and the journal goes. Readers (see package layoutstore) take the old side while a
// journal stands, so they see a bundle wholly or not at all, whenever the writer dies.
//
// # What it promises
//
// Nothing outside of the store is written. Nothing is published whose digest was not
// proven or that lacks anything it names. A gap is a [GapError], which says where. An
// import that fails leaves the tree as it was and staging empty; one that its context
// ends keeps in staging what is proven, for the next one. To import what is there
// already changes nothing.
//
// The formats are those of the OCI image specification 1.1: image-layout.md and
// image-index.md.
package importer
