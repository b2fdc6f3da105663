// Package drop imports what is dropped into a directory.
//
// [New] makes a [Drop], and [Drop.Run] imports whatever becomes complete in its directory,
// until its context ends. A bundle there is a candidate until it has not changed for a
// while; what was imported is moved to done/ or removed, and what is complete and bad is
// moved to failed/.
//
// What of a bundle cannot be moved out, and what is about to be, is saved in the store
// (.layoutproxy/dropped.json): a process that was killed leaves a part of a bundle, which
// would be taken for another bundle. Only files that the import has read, and that are
// still in that state, are moved or removed.
package drop
