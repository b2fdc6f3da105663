//go:build unix

package importer

import (
	"io/fs"
	"syscall"
)

// identify returns the device and the inode of a file. ok is false where the file
// system does not tell them.
func identify(info fs.FileInfo) (id fileID, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}, false
	}
	return fileID{uint64(st.Dev), uint64(st.Ino)}, true
}
