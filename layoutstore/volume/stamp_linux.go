package volume

import (
	"fmt"
	"io/fs"
	"syscall"
)

// stampOf identifies the state of a file by size, times and inode. The change time reveals a
// write even if the modification time was reset afterwards.
func stampOf(info fs.FileInfo) string {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d %d %d %d", st.Size, info.ModTime().UnixNano(), st.Ctim.Nano(), st.Ino)
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

// writtenOf identifies the content of a file: its stamp without the change time, which also
// changes with the mode, the owner and the number of links.
func writtenOf(info fs.FileInfo) string {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d %d %d", st.Size, info.ModTime().UnixNano(), st.Ino)
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

// sameState reports whether the stamps of two states are equal.
func sameState(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, too := b.Sys().(*syscall.Stat_t)
	if !ok || !too {
		return stampOf(a) == stampOf(b)
	}
	return x.Size == y.Size && x.Mtim == y.Mtim && x.Ctim == y.Ctim && x.Ino == y.Ino
}
