// Package containerd knows how a node's containerd is told of a mirror: the
// hosts.toml files below its certs.d directory, and what in containerd's own
// configuration decides whether they are read.
//
// # Where to start
//
// [NewMirror] checks what a mirror is to be. [Mirror.Text] is a whole hosts.toml of
// it, [Mirror.Write] puts it into a certs.d directory, beside whatever a hand wrote
// there, and [Remove] takes it out again.
//
// [ReadHosts] says which hosts containerd asks for the images of a registry, in its
// order, and [Endpoint] makes two spellings of one host the same.
//
// # What it promises
//
// A line that it did not write is never changed, moved or dropped. Its own part
// stands between two comments, and [Remove] leaves the bytes that were there before.
// Before a file is written it is parsed again, and it must then say what it said
// before and what the part says, no more and no less. Files are replaced by a rename.
//
// # What containerd does
//
// The hosts of a file are asked in the order of their tables, `server` last; without
// `server` the registry itself is last. Top-level keys describe the server, so they
// must stand before the first table. containerd 1.6 throws away a file without any
// [host] table, and all of them one with a capability that they do not know. They
// then go on to the registry itself, and say so in their log alone.
package containerd
