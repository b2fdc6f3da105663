//go:build unix && !solaris && !illumos && !aix

package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Available reports whether the operating system supports such locks. A file system may still not support them.
const Available = true

// TryLock locks an open file or directory until it is closed, and does not wait. Errors:
// ErrLocked; errors.ErrUnsupported where the system has no such lock; those of flock(2).
func TryLock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		default:
			return os.NewSyscallError("flock", err)
		}
	}
}
