//go:build !linux

package prune

import (
	"io/fs"
	"time"
)

// changedAt is when a file was written last.
func changedAt(info fs.FileInfo) time.Time { return info.ModTime() }

// inode identifies a file under all its names.
type inode struct{ dev, ino uint64 }

// storage returns no inode: links are not known here.
func storage(info fs.FileInfo) (id inode, names uint64, bytes int64) {
	return inode{}, 1, info.Size()
}
