package daemon

import (
	"runtime/debug"
	"strconv"
	"strings"
)

// giveBack returns memory to the system: the garbage of a scan, a check or a verdict, and the pages
// of the program's file. The system caches those pages while it has free memory, so the next scan
// need not read them from the disk.
func giveBack() {
	debug.FreeOSMemory()
	dropProgram()
}

// mapping is the range of addresses at which a file is mapped.
type mapping struct{ begin, end uintptr }

// programMappings returns the read-only mappings of the program's file. maps is the text of
// /proc/PID/maps (proc_pid_maps(5)).
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
