package volume

import (
	"fmt"
	"io/fs"
	"syscall"
)

// stampOf identifies a state of a file: size, times and inode. The change time
// sees what a restored modification time would hide.
func stampOf(info fs.FileInfo) string {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d %d %d %d", st.Size, info.ModTime().UnixNano(), st.Ctim.Nano(), st.Ino)
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

// writtenOf identifies what was written into a file: its stamp without the change
// time, which moves with the mode, the owner and the number of links too.
func writtenOf(info fs.FileInfo) string {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d %d %d", st.Size, info.ModTime().UnixNano(), st.Ino)
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

// sameState says whether two looks at a file found it in one state: whether their stamps
// are equal.
func sameState(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, too := b.Sys().(*syscall.Stat_t)
	if !ok || !too {
		return stampOf(a) == stampOf(b)
	}
	return x.Size == y.Size && x.Mtim == y.Mtim && x.Ctim == y.Ctim && x.Ino == y.Ino
}
