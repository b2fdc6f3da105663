// Package drop imports bundles that are dropped into a directory.
//
// [New] returns a [Drop], and [Drop.Run] imports each bundle that becomes complete in its directory, until
// its context ends. A bundle waits as a candidate until it has stayed unchanged for a while. Imported bundles
// are moved to done/ or removed; complete but damaged ones are moved to failed/.
//
// Files that are about to be moved, or cannot be moved, are recorded in the store
// (.layoutproxy/dropped.json): if the process is killed, the remaining files would look like another
// bundle. Only files that the import has read, and that are unchanged since, are moved or removed.
package drop
