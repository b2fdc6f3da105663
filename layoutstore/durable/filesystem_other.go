//go:build !linux

package durable

import (
	"errors"
	"os"
)

// SyncFileSystem syncs everything that was written to the file system of f. Errors:
// errors.ErrUnsupported if the system has no call for it.
func SyncFileSystem(*os.File) error { return os.NewSyscallError("syncfs", errors.ErrUnsupported) }
