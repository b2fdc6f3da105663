package prune_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// OlderThan keeps young images wherever they are stored: as loose files, in an archive, or in an archive in
// chunks.
func TestYoungImagesAreKept(t *testing.T) {
	for what, add := range map[string]func(t *testing.T, store, bundle string){
		"loose files": func(t *testing.T, store, bundle string) { importertest.Imported(t, store, bundle) },
		"an archive":  func(t *testing.T, store, bundle string) { importertest.Kept(t, store, bundle) },
		"an archive in chunks": func(t *testing.T, store, bundle string) {
			layouttest.Split(t, filepath.Join(bundle, "platform.tar"), 3000)
			importertest.Kept(t, store, bundle)
		},
	} {
		store := filepath.Join(importertest.Scratch(t), "store")
		add(t, store, appBundle(t, "v1.0.0", "v1.1.0"))
		for after, want := range map[time.Duration]int{0: 0, 48 * time.Hour: 1} {
			p, err := prune.New(prune.Options{Store: store, Now: func() time.Time { return time.Now().Add(after) }})
			importertest.Must(t, err)
			plan, err := p.Plan(t.Context(), prune.Request{Policy: prune.Policy{OlderThan: 24 * time.Hour}, Repack: true})
			importertest.Must(t, err)
			if len(plan.Remove.Images) != want {
				t.Errorf("%s, %s after the import: the prune removes %+v, want %d images", what, after, plan.Remove.Images, want)
			}
		}
	}
}
