package daemon

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropProgram unmaps the program's pages of code and constants. When one is used next, the system
// maps it again, from the page cache or the program's file. If the system refuses, the only
// consequence is that the program occupies a few megabytes more.
func dropProgram() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for _, m := range programMappings(string(maps), program) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.begin, m.end-m.begin, unix.MADV_DONTNEED)
	}
}
