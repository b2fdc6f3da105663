//go:build !linux

package durable

import (
	"errors"
	"os"
)

// SyncFileSystem syncs everything that was written to the file system of f. Errors:
// errors.ErrUnsupported if the system has no call for it.
func SyncFileSystem(*os.File) error { return os.NewSyscallError("syncfs", errors.ErrUnsupported) }

// Space is what a file system has for a user who is not root.
type Space struct {
	Free, Total int64 // bytes
	Files       int64 // that may be added; negative if their number has no limit
	ID          any   // of the file system, comparable; nil if it has none
}

// SpaceOf returns the space of the file system of f. Errors: errors.ErrUnsupported if the system
// has no call for it.
func SpaceOf(*os.File) (Space, error) {
	return Space{}, os.NewSyscallError("fstatfs", errors.ErrUnsupported)
}
