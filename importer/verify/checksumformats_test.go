package verify

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// parse returns the name and the checksum from a line of sha256sum. It never panics, whatever the file
// contains.
func FuzzSums(f *testing.F) {
	f.Add([]byte("abc"), "platform.tar", false)
	f.Add(bytes.Repeat([]byte{0xff}, 40), "a b\x00c", true)
	f.Add([]byte{}, " *", true)
	f.Fuzz(func(t *testing.T, sum []byte, name string, binary bool) {
		want := make([]byte, 32)
		copy(want, sum)
		mode := " "
		if binary {
			mode = "*"
		}
		file := form{algorithm: sha2}
		got := file.parse(fmt.Appendf(nil, "%x %s%s\n", want, mode, name))
		if name != "" && !strings.ContainsAny(name, "\r\n") {
			if len(got) != 1 || got[0].of != name || !bytes.Equal(got[0].want, want) || got[0].fault != "" {
				t.Errorf("parse of one line = %+v, want only the name %q and the checksum %x", got, name, want)
			}
		}
		for _, n := range file.parse([]byte(name)) { // parse arbitrary content, too
			if n.fault == "" && (n.of == "" || len(n.want) != 32) {
				t.Errorf("%q: %+v", name, n)
			}
		}
	})
}
