//go:build !windows

package prune_test

import (
	"io/fs"
	"syscall"
	"testing"
)

// occupied returns the inode of a file and the disk space that it occupies. It skips the test on Windows.
func occupied(_ *testing.T, info fs.FileInfo) (inode uint64, bytes int64) {
	st := info.Sys().(*syscall.Stat_t)
	return st.Ino, st.Blocks * 512
}
