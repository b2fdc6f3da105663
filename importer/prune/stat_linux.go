package prune

import (
	"io/fs"
	"syscall"
	"time"
)

// changedAt returns when the name, mode or content of a file last changed. The file was imported at
// this time or earlier. In a copied store, this is the time of the copy.
func changedAt(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return info.ModTime()
}

// spaceOf returns the inode of a file, the number of its hard links, and its disk space in bytes. The space
// becomes free when the last link is removed.
func spaceOf(info fs.FileInfo) (id inode, names uint64, bytes int64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, 1, info.Size()
	}
	return inode{uint64(st.Dev), st.Ino}, uint64(st.Nlink), st.Blocks * 512 //nolint:unconvert // the types differ between platforms
}
