package names_test

import (
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// The first and the last byte of each range of the grammar are valid, their neighbors
// are not.
func TestBytesOfNames(t *testing.T) {
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

// The digest of an unknown algorithm is not a digest, nor is a tag that ends in a dash.
func TestTagsWithoutDigits(t *testing.T) {
	for _, tag := range []string{"v1-", "md5-", "release-.sig", "-"} {
		if names.IsDigestTag(tag) {
			t.Errorf("%q is reported as the tag of a digest", tag)
		}
	}
}
