package daemon

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// giveBack returns memory to the system: freed heap memory, and the pages with the program's code
// and constants. When such a page is needed again, the system maps it from the page cache or reads
// it from the program's file. If the system refuses, the program only uses a few megabytes more.
func giveBack() {
	debug.FreeOSMemory()
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

type mapping struct{ begin, end uintptr }

// programMappings returns where the program's file is mapped read-only. maps is the content of
// /proc/PID/maps. Its columns are addresses, permissions, offset, device, inode and file
// (proc_pid_maps(5)).
func programMappings(maps, program string) (all []mapping) {
	for line := range strings.Lines(maps) {
		var m mapping
		var permissions string
		_, err := fmt.Sscanf(line, "%x-%x %s", &m.begin, &m.end, &permissions)
		if err == nil && !strings.Contains(permissions, "w") && strings.HasSuffix(strings.TrimSuffix(line, "\n"), " "+program) {
			all = append(all, m)
		}
	}
	return all
}
