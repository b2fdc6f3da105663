package pulltest

import (
	"os"

	"golang.org/x/sys/unix"
)

// memory returns a new directory in memory, if there is enough space for the largest tests.
func memory() (string, bool) {
	const dir, need = "/dev/shm", 2 << 30 // bytes
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil || s.Bavail*uint64(s.Bsize) < need {
		return "", false
	}
	made, err := os.MkdirTemp(dir, "layoutproxy-test-")
	return made, err == nil
}
