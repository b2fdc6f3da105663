package prune

import (
	"io/fs"
	"syscall"
	"time"
)

// changedAt is when a file got its name, mode or content: not earlier than the import that
// brought it. A copy of the store is as old as the copying.
func changedAt(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return info.ModTime()
}

// inode identifies a file under all its names.
type inode struct{ dev, ino uint64 }

// storage returns the inode of a file, how many names it has, and how many bytes of the disk
// its removal frees.
func storage(info fs.FileInfo) (id inode, names uint64, bytes int64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, 1, info.Size()
	}
	return inode{uint64(st.Dev), st.Ino}, uint64(st.Nlink), st.Blocks * 512 //nolint:unconvert // other types on other platforms
}
