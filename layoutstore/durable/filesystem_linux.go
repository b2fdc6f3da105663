package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// SyncFileSystem syncs everything that was written to the file system of f. Errors:
// errors.ErrUnsupported if the system has no call for it.
func SyncFileSystem(f *os.File) error {
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}
