package prune

import (
	"io/fs"
	"syscall"
	"time"
)

// changedAt returns when a file last got a name, mode or content, which is not before it was
// imported. In a copied store, it is the time of the copy.
func changedAt(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return info.ModTime()
}

// inode identifies a file, whichever of its names is used.
type inode struct{ dev, ino uint64 }

// spaceOf returns the inode of a file, how many names it has, and how many bytes of the disk
// its removal frees.
func spaceOf(info fs.FileInfo) (id inode, names uint64, bytes int64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, 1, info.Size()
	}
	return inode{uint64(st.Dev), st.Ino}, uint64(st.Nlink), st.Blocks * 512 //nolint:unconvert // other types on other platforms
}
