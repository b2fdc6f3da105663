package pull

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncTree makes what lies below a directory last, by one call for its file system.
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd())))
}
