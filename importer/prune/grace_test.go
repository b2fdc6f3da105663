package prune_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// If an import adds an image again during the image's grace period, a later prune does not remove it, whether
// the import has unpacked the image or kept its archive.
func TestImageThatReturnsDuringGracePeriodIsKept(t *testing.T) {
	for _, packed := range []bool{false, true} {
		store := filepath.Join(importertest.Scratch(t), "store")
		importertest.Imported(t, store, appBundle(t, "v1.0.0", "v1.1.0"))
		now := time.Now()
		p, err := prune.New(prune.Options{Store: store, Now: func() time.Time { return now }})
		importertest.Must(t, err)
		request := prune.Request{Policy: prune.Policy{KeepNewest: 1}, Grace: 15 * time.Minute}
		plan, err := p.Run(t.Context(), request)
		importertest.Must(t, err)
		if len(plan.Remove.Images) != 1 {
			t.Fatalf("packed: %t: the prune removes %+v, want app:v1.0.0", packed, plan.Remove.Images)
		}
		tree := layouttest.New(t, t.TempDir())
		l := tree.Layout("app")
		l.Add(l.Image(layouttest.Image{Name: "v1.0.0", LayerSizes: []int64{5000}})) // the same image, without a tag
		l.Write()
		i, err := importertest.NewWith(importer.Options{Store: store, KeepPacked: packed, Jobs: 1})
		importertest.Must(t, err)
		_, err = i.Import(t.Context(), importertest.Pack(t, tree))
		importertest.Must(t, err)
		if state := stateOf(t, store); len(state.Pruned) > 0 {
			t.Errorf("packed: %t: after the import, the images %+v are in their grace period, want none", packed, state.Pruned)
		}
		now = now.Add(request.Grace)
		if again, err := p.Plan(t.Context(), request); err != nil || !again.IsEmpty() {
			t.Errorf("packed: %t: the next prune removes %+v, error %v; want nothing removed and no error", packed, again.Remove, err)
		}
	}
}
