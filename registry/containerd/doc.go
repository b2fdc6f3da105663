// Package containerd configures a mirror in a node's containerd: it reads and writes the
// hosts.toml files below the certs.d directory, and reads the part of containerd's own
// configuration that decides whether they are used.
//
// # Where to start
//
// [NewMirror] checks the options of a mirror. [Mirror.Text] is a complete hosts.toml for
// it, [Mirror.Write] adds it to a certs.d directory, next to any hand-written settings,
// and [Remove] removes it.
//
// [ReadHosts] returns the hosts that containerd asks for the images of a registry, in
// order, and [Endpoint] normalizes the spellings of a host.
//
// # What it promises
//
// Lines that the package did not write are never changed, moved or dropped. Its own section is
// between two comments, and [Remove] restores the bytes that were there before. Before a file is
// written, its new text is parsed: it must contain exactly the earlier settings and those of the
// section. Files are replaced by a rename.
//
// # What containerd does
//
// containerd asks the hosts of a file in the order of their tables, and `server` last;
// without `server`, the registry itself is last. Top-level keys describe the server, so they
// must precede the first table. containerd 1.6 ignores a file without any [host] table, and
// all versions ignore a file with an unknown capability. Then they pull from the registry
// itself, and report that only in their log.
package containerd
