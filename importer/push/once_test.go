package push_test

import (
	"io/fs"
	"sync"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// A plan opens each manifest once, and no blob. For each manifest that it sends, a push opens the
// manifest one more time. It opens no other manifest.
func TestManifestsAreReadOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	buildTree(t, dir)
	s := newSetup(t, registrytest.Options{}, push.Selection{}, dir)
	var mu sync.Mutex
	opened := map[string]int{} // number of times each file was opened, by the file's name, which is a digest
	count := func(info fs.FileInfo) {
		mu.Lock()
		defer mu.Unlock()
		opened[info.Name()]++
	}
	to := client.Reference{Registry: s.registry.Host, Path: "mirror/ee"}
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Roots: []string{to.Path}, Opened: count})
	if err != nil {
		t.Fatal(err)
	}
	clear(opened)
	if s.plan, err = push.NewPlan(t.Context(), tree.Snapshot(), to, push.Selection{}); err != nil {
		t.Fatal(err)
	}
	copies := map[string]int{} // how many repositories have each manifest, by its digest
	for _, r := range s.plan.Repositories {
		for _, m := range r.Manifests {
			if !m.Discovery {
				copies[m.Digest.Encoded()]++
			}
		}
	}
	expect := func(when string, times int) {
		t.Helper()
		for d, n := range copies {
			if opened[d] != n*times {
				t.Errorf("after the %s, manifest %s was opened %d times, want %d", when, d, opened[d], n*times)
			}
		}
	}
	expect("plan", 1)
	for _, b := range s.plan.Blobs {
		if opened[b.Digest.Encoded()] > 0 {
			t.Errorf("the plan opened blob %s, want only manifests", b.Digest)
		}
	}
	if _, err := s.push(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.plan.Blobs) == 0 || len(copies) == 0 {
		t.Error("the plan is empty, so the test proves nothing")
	}
	expect("push", 2)
}
