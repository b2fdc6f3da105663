package daemon

import (
	"runtime/debug"
	"strconv"
	"strings"
)

// giveBack gives memory back to the system: what a scan, a check or a verdict took, and the pages
// of the program that only they needed. The system keeps those pages as long as it has room, so
// that the next scan finds them again without a disk.
func giveBack() {
	debug.FreeOSMemory()
	dropProgram()
}

// mapping is where a file is mapped.
type mapping struct{ begin, end uintptr }

// programMappings finds in /proc/PID/maps (proc_pid_maps(5)) the mappings of a file that nobody can have changed.
func programMappings(maps, program string) (all []mapping) {
	for line := range strings.Lines(maps) {
		fields := strings.Fields(line) // address, permissions, offset, device, inode, name
		if len(fields) < 6 || strings.Contains(fields[1], "w") || !strings.HasSuffix(strings.TrimSuffix(line, "\n"), " "+program) {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		begin, err := strconv.ParseUint(from, 16, strconv.IntSize)
		if err != nil {
			continue
		}
		end, err := strconv.ParseUint(to, 16, strconv.IntSize)
		if err != nil {
			continue
		}
		all = append(all, mapping{uintptr(begin), uintptr(end)})
	}
	return all
}
