//go:build !linux

package prune

import (
	"io/fs"
	"time"
)

func changedAt(info fs.FileInfo) time.Time { return info.ModTime() }

// spaceOf returns the size of a file. It returns no inode, because hard links cannot be detected on this
// platform.
func spaceOf(info fs.FileInfo) (id inode, names uint64, bytes int64) {
	return inode{}, 1, info.Size()
}
