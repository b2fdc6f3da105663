package daemon

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// The first seven lines come from a statically linked Go program on Linux 6.18. The last two are
// invented.
func TestProgramMappingsSkipsWritableMappings(t *testing.T) {
	const maps = `00400000-00ee9000 r-xp 00000000 fe:00 9995145                            /opt/layout proxy
00ee9000-01af3000 r--p 00ae9000 fe:00 9995145                            /opt/layout proxy
01af3000-01b89000 rw-p 016f3000 fe:00 9995145                            /opt/layout proxy
01b89000-03df6000 rw-p 00000000 00:00 0 
3cd7e3400000-3cd7e4000000 rw-p 00000000 00:00 0 
7ffcd073e000-7ffcd075f000 rw-p 00000000 00:00 0                          [stack]
7fdddbbde000-7fdddbbe0000 r-xp 00000000 00:00 0                          [vdso]
7f0000000000-7f0000001000 r--p 00000000 fe:00 17                         /srv/opt/layout proxy
broken line
`
	want := []mapping{{0x400000, 0xee9000}, {0xee9000, 0x1af3000}}
	if got := programMappings(maps, "/opt/layout proxy"); !slices.Equal(got, want) {
		t.Errorf("programMappings() = %x, want %x", got, want)
	}
}

// giveBack removes pages of the program from memory, and the program still works.
func TestGiveBackFreesProgramPages(t *testing.T) {
	before := residentProgram(t)
	giveBack()
	if after := residentProgram(t); after >= before {
		t.Errorf("after giveBack, %d KiB of the program are in memory, want less than before: %d KiB", after, before)
	}
}

// residentProgram returns how much of the program's code and constants is in memory, in KiB.
func residentProgram(t *testing.T) (sum int) {
	t.Helper()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	ours, mappings := false, 0
	for line := range strings.Lines(string(smaps)) {
		var n int
		if _, err := fmt.Sscanf(line, "Rss: %d kB", &n); err == nil {
			if ours {
				sum += n
			}
		} else if strings.HasSuffix(line, " "+program+"\n") {
			if ours = len(programMappings(line, program)) == 1; ours {
				mappings++
			}
		} else if name, _, _ := strings.Cut(line, " "); !strings.HasSuffix(name, ":") {
			ours = false
		}
	}
	if mappings < 2 {
		t.Fatalf("found %d mappings of %s, want at least two: code and constants", mappings, program)
	}
	return sum
}
