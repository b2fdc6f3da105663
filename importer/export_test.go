package importer

import (
	"io/fs"
)

// Facts exports inodeFacts to the tests.
type Facts = inodeFacts

// InodeFacts returns facts with the given fields.
func InodeFacts(symlink bool, links uint64, mode, own fs.FileMode, foreign bool) Facts {
	return inodeFacts{symlink, links, mode, own, foreign}
}

// WhyCopy exports whyCopy to the tests.
func WhyCopy(f Facts) string { return whyCopy(f) }

// Names returns how many hard links a file has.
func Names(info fs.FileInfo) uint64 {
	links, _ := ownership(info)
	return links
}
