//go:build !linux

package durable

import (
	"errors"
	"os"
)

// SyncFileSystem has everything on disk that was written to the file system of f. Errors:
// errors.ErrUnsupported where the system has no call for it.
func SyncFileSystem(*os.File) error { return os.NewSyscallError("syncfs", errors.ErrUnsupported) }
