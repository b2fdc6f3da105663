// Package importer makes bundles part of a store: completely, verified, or not at all.
//
// Start with [New] and [Importer.Import], which reads one or more bundles (trees of
// layouts, archives, chunk sets) through package layoutstore, as a server would, and
// publishes what they hold as one generation of the store. [Importer.Recover] finishes
// what a process that was killed had begun to publish. Package drop imports what is
// dropped into a directory; package publish writes the store.
//
// # Steps
//
// An import has three steps. The plan reads every manifest of the bundle, finds what is
// missing or damaged, and what the store has already. Staging copies each blob that the
// store lacks, and proves every digest while it does. Then the new indexes are published
// with all that is staged. Archives that are kept packed go the same way, but for the
// place of their content: the archive itself is staged, and the loose indexes lose the
// tags that it has.
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
