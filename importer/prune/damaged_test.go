package prune_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// appBundle writes a bundle with versions of one image as archives, and returns its directory.
func appBundle(t *testing.T, versions ...string) string {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	for _, v := range versions {
		l.Tag(l.Image(layouttest.Image{Name: v, LayerSizes: []int64{5000}}), v)
	}
	l.Write()
	return importertest.Pack(t, tree)
}

// A prune removes an archive only if the other copies of its blobs are intact. Otherwise, it would remove the
// last intact copy of a blob that a kept image needs.
func TestLastIntactCopyOfBlobIsKept(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		for _, repack := range []bool{false, true} {
			what := fmt.Sprintf("damaged: %t, repack: %t", damaged, repack)
			store := filepath.Join(importertest.Scratch(t), "store")
			importertest.Imported(t, store, appBundle(t, "v1.1.0"))
			importertest.Kept(t, store, appBundle(t, "v1.0.0", "v1.1.0"))
			want := importertest.MustContent(t, store)
			layer := importertest.LargestFile(t, store, "/blobs/")
			if damaged {
				importertest.Flip(t, layer, 7)
			}
			p, err := prune.New(prune.Options{Store: store})
			importertest.Must(t, err)
			plan, err := p.Run(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 1}, Repack: repack})
			importertest.Must(t, err)
			removed, rewritten := 0, 0
			for _, a := range plan.Remove.Archives {
				if a.Rewritten == "" {
					removed++
				} else {
					rewritten++
				}
			}
			if (removed == 1) == damaged || (rewritten == 1) != (damaged && repack) {
				t.Errorf("%s: %d archives removed, want 1 unless the copy is damaged; %d rewritten, want 1 if the copy is damaged and repack is set", what, removed, rewritten)
			}
			if damaged {
				importertest.Must(t, os.Remove(layer)) // the archive must still have an intact copy
			}
			if !damaged || repack {
				delete(want, "app:v1.0.0")
			}
			importertest.Same(t, what, importertest.MustContent(t, store), want)
		}
	}
}

// A prune removes the blobs of a removed image even if they are damaged.
func TestDamagedBlobsOfRemovedImagesAreRemoved(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, store, appBundle(t, "v1.0.0"))
	layer := importertest.LargestFile(t, store, "/blobs/")
	importertest.Imported(t, store, appBundle(t, "v1.1.0"))
	want := importertest.MustContent(t, store)
	importertest.Must(t, os.Truncate(layer, 7))
	p, err := prune.New(prune.Options{Store: store})
	importertest.Must(t, err)
	plan, err := p.Run(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 1}})
	importertest.Must(t, err)
	if len(plan.Remove.Images) != 1 || len(plan.Remove.Blobs) != 2 {
		t.Errorf("the prune removes %+v, want app:v1.0.0 with its config and its layer", plan.Remove)
	}
	if _, err := os.Lstat(layer); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the prune, the damaged layer still exists (error: %v), want it removed", err)
	}
	delete(want, "app:v1.0.0")
	importertest.Same(t, "the store after the prune", importertest.MustContent(t, store), want)
}
