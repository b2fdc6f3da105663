package acceptance

import (
	"maps"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// TestConformance runs the complete suite, including the tests that are disabled by default.
func TestConformance(t *testing.T) {
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	for _, name := range []string{"conformance/repo1", "conformance/repo2"} {
		tree.Layout(name).Write() // must exist, because the suite reads before it writes
	}
	server := serve(t, dir, "--root-repository", "")
	front := httptest.NewServer(newFront(t, dir, server))
	defer front.Close()

	got := conformance(t, front.Listener.Addr().String(), "OCI_VERSION=1.1+dev", "OCI_DATA_SPARSE=true")
	t.Log(got.counts)
	got.checkComplete(t)
	for _, name := range slices.Sorted(maps.Keys(got.states)) {
		if state := got.states[name]; state != "Pass" {
			t.Errorf("%s: the suite's summary shows %q, want Pass", name, state)
		}
	}
	for _, name := range []string{"Blob get range", "Referrers", "Tag listing", "Manifest get by tag"} {
		if got.states[name] != "Pass" {
			t.Errorf("%s: the suite's summary shows %q, want Pass", name, got.states[name])
		}
	}
}
