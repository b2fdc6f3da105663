//go:build unix

package overlap

import (
	"errors"
	"io/fs"
	"syscall"
)

// inodeOf returns the device and inode of a file, or the zero inode where the file
// system does not tell them.
func inodeOf(info fs.FileInfo) inode {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return inode{uint64(st.Dev), uint64(st.Ino)}
	}
	return inode{}
}

func isNotDirectory(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
