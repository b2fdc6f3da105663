package daemon

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// giveBack returns memory to the system: the garbage of a scan, a check or a verdict, and the pages
// of the program's code and constants. When such a page is used next, the system maps it again,
// from the page cache or the program's file. If the system refuses, the only consequence is that
// the program occupies a few megabytes more.
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

// mapping is the range of addresses at which a file is mapped.
type mapping struct{ begin, end uintptr }

// programMappings returns the read-only mappings of the program's file. maps is the text of
// /proc/PID/maps (proc_pid_maps(5)): addresses, permissions, offset, device, inode and name.
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
