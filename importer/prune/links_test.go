package prune_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// A symbolic link in a store can make two repositories share files. A prune of one of them removes no file
// that the other one needs.
func TestFilesOfLinkedRepositoriesAreKept(t *testing.T) {
	shareBlobs := func(t *testing.T, store string) {
		importertest.Must(t, os.RemoveAll(filepath.Join(store, "lib/blobs")))
		importertest.Must(t, os.Symlink("../app/blobs", filepath.Join(store, "lib/blobs")))
	}
	for name, c := range map[string]struct {
		lib    string // name of the image in the repository lib; the repository app has the same image
		link   func(t *testing.T, store string)
		policy prune.Policy
		kept   bool // whether app:v1.0.0 is kept
	}{
		"no link": {"v1.0.0", func(*testing.T, string) {}, prune.Policy{KeepNewest: 1}, false},
		"shared blobs, some of which only one repository keeps": {"v1.0.0", shareBlobs, prune.Policy{KeepNewest: 1}, true},
		"shared blobs, all of which both repositories keep":     {"v1.1.0", shareBlobs, prune.Policy{KeepNewest: 1}, false},
		"a link to a blob": {"v1.0.0", func(t *testing.T, store string) {
			layer := importertest.LargestFile(t, store, "/lib/blobs/")
			importertest.Must(t, os.Remove(layer))
			importertest.Must(t, os.Symlink(filepath.Join("../../../app/blobs/sha256", filepath.Base(layer)), layer))
		}, prune.Policy{KeepNewest: 1}, true},
		"a link to a repository": {"v1.0.0", func(t *testing.T, store string) {
			importertest.Must(t, os.Symlink("app", filepath.Join(store, "alias")))
		}, prune.Policy{KeepNewest: 1, Keep: []string{"alias:v1.0.0"}}, true},
		"a link to a repository to which the same rules apply": {"v1.0.0", func(t *testing.T, store string) {
			importertest.Must(t, os.Symlink("app", filepath.Join(store, "alias")))
		}, prune.Policy{KeepNewest: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tree := layouttest.New(t, t.TempDir())
			app, lib := tree.Layout("app"), tree.Layout("lib")
			for _, v := range []string{"v1.0.0", "v1.1.0"} {
				app.Tag(app.Image(layouttest.Image{Name: v, LayerSizes: []int64{5000}}), v)
			}
			lib.Tag(lib.Image(layouttest.Image{Name: c.lib, LayerSizes: []int64{5000}}), "v0.1.0")
			app.Write()
			lib.Write()
			store := filepath.Join(importertest.Scratch(t), "store")
			importertest.Imported(t, store, tree.Dir())
			c.link(t, store)
			want := importertest.MustContent(t, store)
			p, err := prune.New(prune.Options{Store: store})
			importertest.Must(t, err)
			_, err = p.Run(t.Context(), prune.Request{Policy: c.policy})
			importertest.Must(t, err)
			if !c.kept {
				delete(want, "app:v1.0.0")
				delete(want, "alias:v1.0.0")
			}
			importertest.Same(t, "the store after the prune", importertest.MustContent(t, store), want)
		})
	}
}

// A prune removes a damaged file only if no other repository needs it: somebody may still repair the file.
func TestDamagedFileOfLinkedRepositoryIsKept(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	app, lib := tree.Layout("app"), tree.Layout("lib")
	shared := [][]byte{bytes.Repeat([]byte("shared"), 1000)}
	app.Tag(app.Image(layouttest.Image{Name: "app", Layers: shared}), "v1.0.0")
	app.Tag(app.Image(layouttest.Image{Name: "app"}), "v1.1.0")
	lib.Tag(lib.Image(layouttest.Image{Name: "lib", Layers: shared}), "v0.1.0")
	app.Write()
	lib.Write()
	store := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, store, tree.Dir())
	layer, link := importertest.LargestFile(t, store, "/app/blobs/"), importertest.LargestFile(t, store, "/lib/blobs/")
	importertest.Must(t, os.Remove(link))
	importertest.Must(t, os.Symlink(filepath.Join("../../../app/blobs/sha256", filepath.Base(layer)), link))
	importertest.Must(t, os.Truncate(layer, 7))
	p, err := prune.New(prune.Options{Store: store})
	importertest.Must(t, err)
	plan, err := p.Run(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 1}})
	importertest.Must(t, err)
	if _, err := os.Lstat(layer); err != nil || len(plan.Remove.Images) > 0 {
		t.Errorf("the prune removes %+v; then the file of the damaged layer: got error %v; want the file and the repository app kept", plan.Remove, err)
	}
}
