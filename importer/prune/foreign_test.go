package prune_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// writeRoot writes a root layout with one image for each reference.
func writeRoot(tree *layouttest.Tree, references []string) {
	l := tree.Layout(".")
	for _, ref := range references {
		d := l.Image(layouttest.Image{Name: ref})
		d.Annotations = map[string]string{ocispec.AnnotationRefName: ref}
		l.Add(d)
	}
	l.Write()
}

// If the tags in a root layout belong to several repositories, a prune changes nothing in this layout: the root
// under which the store is served decides which of these tags count, and a prune does not know that root.
func TestRootLayoutOfSeveralRepositoriesIsKept(t *testing.T) {
	for n := range 8 {
		references := []string{"registry.example/app:1.0.0", "registry.example/db:1.0.0"}
		packed, elected := n&1 != 0, n&2 != 0
		if n&4 != 0 {
			slices.Reverse(references)
		}
		what := fmt.Sprintf("%v, packed: %t, most references vote for app: %t", references, packed, elected)
		t.Run(what, func(t *testing.T) {
			tree := layouttest.New(t, t.TempDir())
			if elected {
				tree.Source = "registry.example/app"
			}
			l := tree.Layout("web")
			l.Tag(l.Image(layouttest.Image{Name: "old"}), "v1.0.0")
			l.Tag(l.Image(layouttest.Image{Name: "new"}), "v1.1.0")
			l.Write()
			if packed {
				writeRoot(tree, references)
			}
			store := filepath.Join(importertest.Scratch(t), "store")
			i, err := importertest.NewWith(importer.Options{Store: store, KeepPacked: packed, Jobs: 1})
			importertest.Must(t, err)
			_, err = i.Import(t.Context(), importertest.Pack(t, tree))
			importertest.Must(t, err)
			if !packed { // an import would remove the tags that do not count, so copy the layout into the store
				writeRoot(layouttest.New(t, store), references)
			}
			content := func(root string) importertest.Content {
				tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}, Roots: []string{root}, Indexes: []string{}})
				importertest.Must(t, err)
				all, err := importertest.ContentOfSnapshot(t.Context(), tree.Snapshot())
				importertest.Must(t, err)
				return all
			}
			before := map[string]importertest.Content{"app": content("app"), "db": content("db")}
			p, err := prune.New(prune.Options{Store: store, Now: func() time.Time { return time.Now().Add(24 * time.Hour) }})
			importertest.Must(t, err)
			plan, err := p.Run(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 1}, Repack: packed})
			importertest.Must(t, err)
			if len(plan.Remove.Images) != 1 || plan.Remove.Images[0].Repository != "web" {
				t.Errorf("the plan removes %+v, want only web:v1.0.0", plan.Remove.Images)
			}
			for root, want := range before {
				if want[".:1.0.0"] == "" {
					t.Fatalf("below the root %s, the root layout has no tag, want 1.0.0", root)
				}
				delete(want, "web:v1.0.0")
				importertest.Same(t, "below the root "+root, content(root), want)
			}
		})
	}
}

// If an import removes the tag of an image because it belongs to another repository, no image has taken this
// tag. So a prune keeps the image.
func TestImageOfAnotherRepositoryIsNotReplaced(t *testing.T) {
	for _, tag := range []string{"1.0.0", "2.0.0"} {
		tree := layouttest.New(t, t.TempDir())
		tree.Source = "registry.example/app"
		writeRoot(tree, []string{"registry.example/db:" + tag, "registry.example/app:1.0.0"})
		l := tree.Layout("web")
		l.Tag(l.Image(layouttest.Image{Name: "old"}), "v1.0.0")
		l.Tag(l.Image(layouttest.Image{Name: "new"}), "v1.1.0")
		l.Write()
		store := filepath.Join(importertest.Scratch(t), "store")
		importertest.Imported(t, store, tree.Dir())
		p, err := prune.New(prune.Options{Store: store})
		importertest.Must(t, err)
		plan, err := p.Plan(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 1}})
		importertest.Must(t, err)
		if len(plan.Remove.Images) != 1 || plan.Remove.Images[0].Repository != "web" {
			t.Errorf("db:%s: the plan removes %+v, want only web:v1.0.0", tag, plan.Remove.Images)
		}
		kept := slices.ContainsFunc(plan.Keep, func(x prune.Decision) bool {
			return x.Repository == "." && len(x.Tags) == 0 && x.Reason.Rule == prune.ByDigest
		})
		if !kept {
			t.Errorf("db:%s: the plan keeps %+v, want also the image without a tag", tag, plan.Keep)
		}
	}
}

// If an import brings an image with the same tag as an image of another repository in the root layout of a store,
// the new image has not taken the tag from that image. So a prune keeps it.
func TestImageOfAnotherRepositoryIsNotReplacedByImport(t *testing.T) {
	web := layouttest.New(t, t.TempDir())
	web.Source = "registry.example/app"
	l := web.Layout("web")
	l.Tag(l.Image(layouttest.Image{Name: "web"}), "v1.0.0")
	l.Write()
	store := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, store, web.Dir())
	const db = "registry.example/db:1.0.0"
	old := layouttest.New(t, store) // somebody copies a root layout into the store
	writeRoot(old, []string{"registry.example/app:1.0.0", db})
	other := old.Layout(".").Image(layouttest.Image{Name: db})
	fresh := layouttest.New(t, t.TempDir())
	root := fresh.Layout(".")
	d := root.Image(layouttest.Image{Name: "new"})
	d.Annotations = map[string]string{ocispec.AnnotationRefName: "registry.example/app:1.0.0"}
	root.Add(d)
	root.Write()
	if report := importertest.Imported(t, store, fresh.Dir()); report.Tags != (importer.Tags{Replaced: 1}) {
		t.Fatalf("the import reports %+v, want one replaced tag", report.Tags)
	}
	p, err := prune.New(prune.Options{Store: store})
	importertest.Must(t, err)
	plan, err := p.Plan(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 1}})
	importertest.Must(t, err)
	if len(plan.Remove.Images) != 1 || plan.Remove.Images[0].Repository != "." || plan.Remove.Images[0].Digest == other.Digest {
		t.Errorf("the plan removes %+v, want only the replaced image app:1.0.0", plan.Remove.Images)
	}
}
