//go:build !unix || solaris || illumos || aix

package filelock

import (
	"errors"
	"os"
)

// Available means that the operating system supports locks. A file system may still not support them.
const Available = false

// TryLock locks an open file or directory until Release. It does not wait: if the file is
// already locked, TryLock fails with ErrLocked. If the system does not support locks, it fails with
// errors.ErrUnsupported. Other errors come from flock(2).
func TryLock(*os.File) error { return os.NewSyscallError("flock", errors.ErrUnsupported) }

// Release closes a file.
func Release(f *os.File) error { return f.Close() }
