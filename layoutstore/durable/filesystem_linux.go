package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// SyncFileSystem has everything on disk that was written to the file system of f. Errors:
// errors.ErrUnsupported where the system has no call for it.
func SyncFileSystem(f *os.File) error {
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}
