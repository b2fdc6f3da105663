//go:build !unix || solaris || illumos || aix

package filelock

import (
	"errors"
	"os"
)

// Available reports whether the operating system supports such locks. A file system may still not support them.
const Available = false

// TryLock locks an open file or directory until it is closed, and does not wait. Errors:
// ErrLocked; errors.ErrUnsupported where the system has no such lock; those of flock(2).
func TryLock(*os.File) error { return os.NewSyscallError("flock", errors.ErrUnsupported) }
