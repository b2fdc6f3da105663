package prune

import (
	"io/fs"
	"syscall"
	"time"
)

// changedAt returns when the name, mode or content of a file last changed. That is at or after its
// import; in a copied store it is the time of the copy.
func changedAt(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return info.ModTime()
}

// spaceOf returns the inode of a file, the number of its names, and the disk space in bytes that the
// removal of its last name frees.
func spaceOf(info fs.FileInfo) (id inode, names uint64, bytes int64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, 1, info.Size()
	}
	return inode{uint64(st.Dev), st.Ino}, uint64(st.Nlink), st.Blocks * 512 //nolint:unconvert // the types differ between platforms
}
