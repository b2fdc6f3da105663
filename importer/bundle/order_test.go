package bundle

import (
	"strings"
	"testing"
)

// walkOrder sorts a slash before all other bytes.
func FuzzWalkOrder(f *testing.F) {
	f.Add("install/index.json", "install-standalone/index.json")
	f.Add("modules/a/b", "modules/a")
	f.Add("a//b", "a/")
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.Contains(a+b, "\x00") {
			return
		}
		want := strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
		if got := walkOrder(a, b); sign(got) != sign(want) || sign(walkOrder(b, a)) != -sign(want) {
			t.Fatalf("walkOrder(%q, %q) = %d, with swapped arguments %d; want the sign of %d, then the opposite sign", a, b, got, walkOrder(b, a), want)
		}
	})
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
