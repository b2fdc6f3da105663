package volume

import (
	"fmt"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// An index beside an archive in a bucket may come from anyone. If it has more items than a scan ever makes, it is
// not used, because it would take much more memory than its own size.
func TestIndexWithTooManyItems(t *testing.T) {
	for name, c := range map[string]struct {
		layouts, problems, headers int
		ok                         bool
	}{
		"as many as a scan makes": {maxLayouts, maxProblems + 3, 10, true},
		"layouts":                 {maxLayouts + 1, 0, 0, false},
		"problems":                {1, 3 * maxProblems, 0, false},
		"headers":                 {1, 0, maxLinks + 1, false},
	} {
		ix := &tarIndex{layouts: make([]tarLayout, c.layouts), problems: make([]problem.Problem, c.problems), headers: map[string]string{}}
		for i := range c.headers {
			ix.headers[fmt.Sprint(i)] = ""
		}
		got, ok := decodeIndex(encodeIndex(ix, nil, "head"), false, "head")
		if ok != c.ok || ok && (len(got.layouts) != c.layouts || len(got.problems) != c.problems) {
			t.Errorf("%s: got ok = %v, want %v", name, ok, c.ok)
		}
	}
}
