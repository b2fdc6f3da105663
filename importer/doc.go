// Package importer imports bundles into a store: complete and verified, or not at all.
//
// Start with [New] and [Importer.Import]. Import reads one or more bundles (trees of layouts,
// archives, chunk sets) through package layoutstore, as a server would. It publishes their content
// as one generation of the store. [Importer.Recover] completes the publication of a process that
// was killed. Package drop imports bundles from a watched directory; package publish writes the
// store.
//
// # Steps
//
// An import has three steps. Planning reads every manifest of the bundle and finds what is missing,
// what is damaged and what the store already has. Staging copies each blob that the store does not
// have, and proves its digest during the copy. Publishing moves the staged blobs and new indexes
// into the tree. If archives are kept packed, the archives themselves are staged, and their tags
// are removed from the indexes of the store's unpacked layouts.
//
// # What it promises
//
// An import publishes only complete content with proven digests. Outside of the store, it only removes old
// names of archives that it moved. An [IncompleteError] lists missing and damaged content with its place. A
// failed import leaves the tree as it was and staging empty, except after an [UnfinishedError]. If the
// context ends, proven blobs stay in staging for the next import. Repeating an import changes nothing.
//
// The formats are those of the OCI image specification 1.1: image-layout.md and image-index.md.
package importer
