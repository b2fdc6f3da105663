package volume

import (
	"fmt"
	"io/fs"
	"syscall"
)

// stampOf returns a text with the size, times and inode of a file, which identifies its state. The
// change time reveals a write even if the modification time was reset.
func stampOf(info fs.FileInfo) string {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d %d %d %d", st.Size, info.ModTime().UnixNano(), st.Ctim.Nano(), st.Ino)
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

// writtenOf returns a text that identifies the content of a file. It is the stamp without the
// change time, which also changes with the mode, the owner and the number of links.
func writtenOf(info fs.FileInfo) string {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d %d %d", st.Size, info.ModTime().UnixNano(), st.Ino)
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

// sameState reports whether two states of a file have equal stamps.
func sameState(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, too := b.Sys().(*syscall.Stat_t)
	if !ok || !too {
		return stampOf(a) == stampOf(b)
	}
	return x.Size == y.Size && x.Mtim == y.Mtim && x.Ctim == y.Ctim && x.Ino == y.Ino
}
