//go:build linux || darwin || freebsd || netbsd || openbsd

package pull

import (
	"errors"
	"os"
	"syscall"
)

// lockFile locks an open file or directory until it is closed.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errBusy
	}
	return err
}

// isOwn reports whether a file belongs to the user who runs this process.
func isOwn(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || stat.Uid == uint32(os.Geteuid())
}
