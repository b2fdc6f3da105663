package verify

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// If a name contains a backslash, sha256sum begins the line with a backslash, and writes two backslashes for each
// one in the name: https://gnu.org/software/coreutils/manual/html_node/cksum-output-modes.html. The format of
// openssl is in the function do_fp in apps/dgst.c of openssl/openssl. OpenSSL 3 names the algorithm SHA2-256. The
// format of gost12sum is in gost12sum.c of gost-engine/engine. The tests of gost-engine contain the name
// md_gost12_256.
func TestParseLine(t *testing.T) {
	want := bytes.Repeat([]byte{0xab}, 32)
	for _, c := range []struct{ algorithm, format, name string }{
		{sha2, `%x  a\b`, `a\b`},
		{sha2, `\%x  a\\b.tar`, `a\b.tar`},
		{sha2, `\%x *D:\\a\\b.tar`, `D:\a\b.tar`},
		{sha2, "SHA256(a b.tar)= %x", "a b.tar"},
		{sha2, "SHA2-256(a (1).tar)= %x", "a (1).tar"},
		{sha2, "SHA256 (a.tar) = %x", "a.tar"},
		{sha2, `\SHA256 (a\\b.tar) = %x`, `a\b.tar`},
		{gost, "%x a.tar", "a.tar"},
		{gost, "%x *a b.tar", "a b.tar"},
		{gost, "md_gost12_256(a.tar)= %x", "a.tar"},
		{gost, "SHA256(a.tar)= %x", ""},
		{sha2, "md_gost12_256(a.tar)= %x", ""},
	} {
		got := form{algorithm: c.algorithm}.parse(fmt.Appendf(nil, c.format+"\n", want))
		if c.name == "" {
			if len(got) != 1 || got[0].fault == "" {
				t.Errorf("parse of the line %q as %s = %+v, want a fault", c.format, c.algorithm, got)
			}
			continue
		}
		if len(got) != 1 || got[0].of != c.name || !bytes.Equal(got[0].want, want) || got[0].fault != "" {
			t.Errorf("parse of the line %q as %s = %+v, want only the name %q and the checksum %x", c.format, c.algorithm, got, c.name, want)
		}
	}
}

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
