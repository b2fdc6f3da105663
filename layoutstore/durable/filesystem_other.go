//go:build !linux

package durable

import (
	"errors"
	"os"
)

// SyncFileSystem syncs everything that was written to the file system of f. Errors:
// errors.ErrUnsupported if the operating system has no call for it.
func SyncFileSystem(*os.File) error { return os.NewSyscallError("syncfs", errors.ErrUnsupported) }

// SpaceOf returns the space of the file system of f. Errors: errors.ErrUnsupported if the operating
// system has no call for it.
func SpaceOf(*os.File) (Space, error) {
	return Space{}, os.NewSyscallError("fstatfs", errors.ErrUnsupported)
}
