//go:build !linux

package durable

import (
	"errors"
	"os"
)

// SyncFileSystem syncs the file system that contains f. It fails with errors.ErrUnsupported if the
// operating system has no call for that.
func SyncFileSystem(*os.File) error { return os.NewSyscallError("syncfs", errors.ErrUnsupported) }

// SpaceOf returns the space in the file system that contains f. It fails with errors.ErrUnsupported
// if the operating system has no call for that.
func SpaceOf(*os.File) (Space, error) {
	return Space{}, os.NewSyscallError("fstatfs", errors.ErrUnsupported)
}
