//go:build unix

package volume

import (
	"os"
	"syscall"
)

// openNoFollow opens a file that is no symbolic link.
func openNoFollow(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
}
