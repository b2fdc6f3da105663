package names_test

import (
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// The first and the last byte of each range in the grammar are valid, and their neighbors are not.
func TestNameBytes(t *testing.T) {
	for s, want := range map[string]struct{ repository, tag bool }{
		"a": {true, true}, "z": {true, true}, "0": {true, true}, "9": {true, true},
		"A": {false, true}, "Z": {false, true}, "v_": {false, true},
		"`": {}, "{": {}, "/": {}, ":": {}, "@": {}, "[": {},
	} {
		if repository, tag := names.IsRepository(s), names.IsTag(s); repository != want.repository || tag != want.tag {
			t.Errorf("%q: repository %v, tag %v; want %v", s, repository, tag, want)
		}
	}
}

// A tag that begins with an unknown algorithm, or ends with a dash, is not a digest tag.
func TestIsNotDigestTag(t *testing.T) {
	for _, tag := range []string{"v1-", "md5-", "release-.sig", "-"} {
		if names.IsDigestTag(tag) {
			t.Errorf("%q is reported as a digest tag", tag)
		}
	}
}
