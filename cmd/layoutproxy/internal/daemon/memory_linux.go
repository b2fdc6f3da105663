package daemon

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropProgram unmaps the program's pages of code and constants. Those that are needed are mapped
// again when they are used next: they are in the page cache, or in the file that they came from.
// If the system refuses, it uses a few megabytes more, and nothing else happens.
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
