package names_test

import (
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// For each range of bytes in the grammar, the first and the last byte are valid. The bytes just
// outside of the range are not.
func TestBoundariesOfByteRangesInNames(t *testing.T) {
	for s, want := range map[string]struct{ repository, tag bool }{
		"a": {true, true}, "z": {true, true}, "0": {true, true}, "9": {true, true},
		"A": {false, true}, "Z": {false, true}, "v_": {false, true},
		"`": {}, "{": {}, "/": {}, ":": {}, "@": {}, "[": {},
	} {
		if repository, tag := names.IsRepository(s), names.IsTag(s); repository != want.repository || tag != want.tag {
			t.Errorf("%q: IsRepository = %v, IsTag = %v; want %v and %v", s, repository, tag, want.repository, want.tag)
		}
	}
}

// A tag is not a digest tag if it begins with an unknown algorithm or ends with a dash.
func TestOtherTagsAreNotDigestTags(t *testing.T) {
	for _, tag := range []string{"v1-", "md5-", "release-.sig", "-"} {
		if names.IsDigestTag(tag) {
			t.Errorf("IsDigestTag(%q) = true, want false", tag)
		}
	}
}
