package importer_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// All blobs of an archive that is kept packed are proven, because the store serves all of them.
// This includes further copies of a blob, and blobs that no image needs. If one copy is damaged,
// the bundle is refused.
func TestKeepPackedProvesEveryCopy(t *testing.T) {
	for _, spoiled := range []string{"module-a.tar", "module-b.tar", "spare.tar"} {
		t.Run(spoiled, func(t *testing.T) {
			dir := importertest.Scratch(t)
			in, store := filepath.Join(dir, "in"), filepath.Join(dir, "store")
			for _, name := range []string{"a", "b"} {
				tree := layouttest.New(t, t.TempDir())
				l := tree.Layout("modules/" + name)
				l.Tag(l.Image(layouttest.Image{Name: "the same", LayerSizes: []int64{5000}}), "stable")
				l.Write()
				tree.Archive(filepath.Join(in, "module-"+name+".tar"), layouttest.Archive{})
			}
			tree := layouttest.New(t, t.TempDir())
			l := tree.Layout("spare")
			l.Blob("", make([]byte, 5000))
			l.Write()
			tree.Archive(filepath.Join(in, "spare.tar"), layouttest.Archive{})
			bad := filepath.Join(in, spoiled)
			importertest.Flip(t, bad, importertest.Largest(layouttest.Places(t, bad)).Body)
			before := importertest.Files(t, in)
			var incomplete *importer.IncompleteError
			if _, err := importertest.Packing(t, store).Import(t.Context(), in); !errors.As(err, &incomplete) || len(incomplete.Problems) != 1 || incomplete.Problems[0].Path != bad {
				t.Errorf("%v", err)
			}
			if len(importertest.MustContent(t, store)) > 0 || len(importertest.Files(t, in)) != len(before) {
				t.Error("the refused import published content or moved files of the bundle, want neither")
			}
			importertest.Flip(t, bad, importertest.Largest(layouttest.Places(t, bad)).Body)
			importertest.Kept(t, store, in)
		})
	}
}
