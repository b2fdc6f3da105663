package importer

import (
	"io/fs"
)

// Facts decide whether a file may be linked into a store.
type Facts = inodeFacts

// InodeFacts returns facts.
func InodeFacts(symlink bool, links uint64, mode, own fs.FileMode, foreign bool) Facts {
	return inodeFacts{symlink, links, mode, own, foreign}
}

// WhyCopy returns why a file is copied.
func WhyCopy(f Facts) string { return whyCopy(f) }

// Names returns how many names a file has.
func Names(info fs.FileInfo) uint64 {
	links, _ := ownership(info)
	return links
}
