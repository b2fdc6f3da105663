package verify

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// From a line that sha256sum writes, the parser returns the name and the checksum. No input makes it
// panic.
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
				t.Errorf("%+v, want %q", got, name)
			}
		}
		for _, n := range file.parse([]byte(name)) { // a file of arbitrary content
			if n.fault == "" && (n.of == "" || len(n.want) != 32) {
				t.Errorf("%q: %+v", name, n)
			}
		}
	})
}
