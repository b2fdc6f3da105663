//go:build unix && !solaris && !illumos && !aix

package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Available means that the operating system supports locks. A file system may still not support them.
const Available = true

// TryLock locks an open file or directory until Release. It does not wait: if the file is
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

// Release unlocks and closes a file. Closing alone would not be enough: a child process that was
// just forked shares the open file, and keeps the lock until it calls exec.
func Release(f *os.File) error {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // ignored: closing the file unlocks it too, but perhaps later
	return f.Close()
}
