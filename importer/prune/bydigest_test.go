package prune_test

import (
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// If an import gives the tag of an image to another image, a prune removes the first image, unless a bundle lists
// it by its digest, at the same time or later.
func TestReplacedImageInBundleByDigestIsKept(t *testing.T) {
	// bundle writes a bundle with images in the repository app. The first image has the tag stable, unless its
	// name is empty. The other images have no tag.
	bundle := func(tagged string, others ...string) string {
		tree := layouttest.New(t, t.TempDir())
		l := tree.Layout("app")
		if tagged != "" {
			l.Tag(l.Image(layouttest.Image{Name: tagged}), "stable")
		}
		for _, name := range others {
			l.Add(l.Image(layouttest.Image{Name: name}))
		}
		l.Write()
		return tree.Dir()
	}
	twice := layouttest.New(t, t.TempDir())
	l := twice.Layout("app")
	old := l.Image(layouttest.Image{Name: "old"})
	l.Add(old)
	l.Tag(old, "stable")
	l.Tag(l.Image(layouttest.Image{Name: "new"}), "stable")
	l.Write()
	for what, c := range map[string]struct {
		bundles []string
		removed int // number of images that the prune removes
	}{
		"not by its digest":           {[]string{bundle("old"), bundle("new")}, 1},
		"by its digest, later":        {[]string{bundle("old"), bundle("new"), bundle("", "old")}, 0},
		"by its digest, in the same":  {[]string{bundle("old"), bundle("new", "old")}, 0},
		"by its digest, and replaced": {[]string{twice.Dir()}, 0},
		"by its digest, but earlier":  {[]string{bundle("old", "older"), bundle("new")}, 1},
		"twice, and then replaced":    {[]string{bundle("old"), bundle("new"), bundle("old"), bundle("new")}, 1},
		"another image by its digest": {[]string{bundle("old"), bundle("new"), bundle("", "older")}, 1},
	} {
		store := filepath.Join(importertest.Scratch(t), "store")
		for _, dir := range c.bundles {
			importertest.Imported(t, store, dir)
		}
		if report := importertest.Imported(t, store, c.bundles[len(c.bundles)-1]); report.Changed {
			t.Errorf("%s: a second import of the last bundle reports %+v, want no change", what, report)
		}
		p, err := prune.New(prune.Options{Store: store})
		importertest.Must(t, err)
		plan, err := p.Plan(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 1}})
		importertest.Must(t, err)
		if len(plan.Remove.Images) != c.removed {
			t.Errorf("%s: the prune removes %+v, want %d images", what, plan.Remove.Images, c.removed)
		}
	}
}

// The same holds for an image in an archive of the store. An import cannot change the index in this archive.
func TestReplacedImageInArchiveOfStoreIsKept(t *testing.T) {
	for _, listed := range []bool{false, true} { // whether the last bundle lists the image by its digest
		store := filepath.Join(importertest.Scratch(t), "store")
		importertest.Kept(t, store, importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "old.tar"), "app:stable=old"))
		importertest.Imported(t, store, importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "new.tar"), "app:stable=new"))
		if listed {
			tree := layouttest.New(t, t.TempDir())
			l := tree.Layout("app")
			l.Add(l.Image(layouttest.Image{Name: "old", LayerSizes: []int64{700}})) // the image in old.tar
			l.Write()
			for n := range 2 {
				if report := importertest.Imported(t, store, tree.Dir()); report.Changed != (n == 0) || report.Blobs.Written > 0 {
					t.Errorf("import %d by digest reports %+v, want no blob written, and a change only by the first one", n+1, report)
				}
			}
		}
		p, err := prune.New(prune.Options{Store: store})
		importertest.Must(t, err)
		plan, err := p.Plan(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 1}})
		importertest.Must(t, err)
		if (len(plan.Remove.Images) == 0) != listed {
			t.Errorf("listed by its digest: %t; the prune removes %+v, want the old image only if it is not listed", listed, plan.Remove.Images)
		}
	}
}
