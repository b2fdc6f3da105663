package bundle

import (
	"os"

	"golang.org/x/sys/unix"
)

// SyncTree makes what is below a directory durable, by one call for its file system.
func SyncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd())))
}
