package importer

import (
	"io/fs"
)

// Facts is inodeFacts.
type Facts = inodeFacts

// InodeFacts returns the facts with these fields.
func InodeFacts(symlink bool, links uint64, mode, own fs.FileMode, foreign bool) Facts {
	return inodeFacts{symlink, links, mode, own, foreign}
}

// WhyCopy is whyCopy.
func WhyCopy(f Facts) string { return whyCopy(f) }

// Names returns the number of hard links of a file.
func Names(info fs.FileInfo) uint64 {
	links, _ := ownership(info)
	return links
}
