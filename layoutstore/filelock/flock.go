//go:build unix && !solaris && !illumos && !aix

package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Available means that the operating system supports locks. A file system may still not support
// them.
const Available = true

// TryLock locks an open file or directory until it is closed. It does not wait: if the file is
// already locked, TryLock fails with ErrLocked. If the system does not support locks, it fails with
// errors.ErrUnsupported. Other errors come from flock(2).
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
