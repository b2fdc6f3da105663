package names_test

import (
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

func TestMatchGlob(t *testing.T) {
	for _, test := range []struct {
		glob, path string
		want       bool
	}{
		{"modules/console", "modules/console", true},
		{"modules/*", "modules/console", true},
		{"modules/*", "modules", false},
		{"modules/*", "modules/console/release", false},
		{"modules/**", "modules/console/release", true},
		{"modules/**", "modules", true},
		{"modules/**", "module", false},
		{"**", "modules/console", true},
		{"**", ".", true},
		{"**/release", "modules/console/release", true},
		{"**/release", "release", true},
		{"**/release", "modules/release/console", false},
		{"a/**/b/**/c", "a/x/b/y/z/c", true},
		{"a/**/b/**/c", "a/x/c/y/z/b", false},
		{"modules/c[o-p]nsole", "modules/console", true},
		{"modules/[", "modules/[", false},
		{".", ".", true},
		{"", "modules", false},
		{"/**", "modules", false},
	} {
		if got := names.MatchGlob(test.glob, test.path); got != test.want {
			t.Errorf("MatchGlob(%q, %q) = %v, want %v", test.glob, test.path, got, test.want)
		}
	}
}
