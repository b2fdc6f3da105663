// Package drop imports bundles that are dropped into a directory.
//
// [New] returns a [Drop]. Until its context ends, [Drop.Run] imports each bundle that is complete
// and has stayed unchanged for a while. Imported bundles are moved to done/ or removed. Complete
// but damaged bundles are moved to failed/.
//
// Of an imported bundle, only files that the import has read, and that have not changed since, are moved or
// removed. Files to be moved or removed, and bundles with files that stay, are recorded in the store
// (.layoutproxy/dropped.json). Otherwise, after a crash, the remaining files would look like another bundle.
package drop
