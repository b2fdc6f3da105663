package layoutstore

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// affects reports whether a problem affects a layout. fault and layout are their paths. The test
// compares affectedLayouts with this simpler function.
func affects(fault, layout string) bool {
	if fault == "." || fault == layout || strings.HasPrefix(layout, fault+"/") {
		return true
	}
	index := layout + "/index.json"
	if layout == "." {
		index = "index.json"
	}
	return fault == index
}

// The binary search of affectedLayouts finds the same layouts as a linear search.
func TestAffectedLayouts(t *testing.T) {
	segments := []string{"a", "a-b", "a.b", "a0", "index.json", "b"}
	random := rand.New(rand.NewPCG(1, 1))
	name := func() string {
		var all []string
		for range 1 + random.IntN(3) {
			all = append(all, segments[random.IntN(len(segments))])
		}
		return strings.Join(all, "/")
	}
	for range 2000 {
		paths := []string{"."}
		for range random.IntN(12) {
			paths = append(paths, name())
		}
		slices.Sort(paths)
		var parts []*indexedLayout
		for _, p := range slices.Compact(paths) {
			parts = append(parts, &indexedLayout{path: p})
		}
		for _, fault := range []string{".", "", "index.json", name(), name() + "/index.json"} {
			want := slices.DeleteFunc(slices.Clone(parts), func(p *indexedLayout) bool { return !affects(fault, p.path) })
			got := affectedLayouts(fault, parts)
			slices.SortFunc(got, func(a, b *indexedLayout) int { return strings.Compare(a.path, b.path) })
			if !slices.Equal(got, want) {
				t.Fatalf("affectedLayouts(%q): want %d of the layouts %q, got %d, or different ones", fault, len(want), paths, len(got))
			}
		}
	}
}
