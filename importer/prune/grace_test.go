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

// A plan stays valid if the grace period of an archive ends before the plan is executed. The archive is not in
// the plan, so the execution does not remove it, but the next sweep does.
func TestPlanStaysValidWhenGracePeriodEnds(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	bundle := func(images ...string) string {
		return importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "app.tar"), images...)
	}
	importertest.Imported(t, store, bundle("app:v1.0.0=old", "app:v1.1.0=one"))
	importertest.Kept(t, store, bundle("app:v1.1.0=one", "app:stable=one"))
	importertest.Imported(t, store, bundle("app:v1.2.0=two", "app:stable=two")) // nothing needs the archive anymore
	now := time.Now()
	p, err := prune.New(prune.Options{Store: store, Now: func() time.Time { return now }})
	importertest.Must(t, err)
	retired, err := p.Run(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 3}, Grace: 15 * time.Minute})
	importertest.Must(t, err)
	if len(retired.Remove.Images) > 0 || len(retired.Remove.Archives) != 1 {
		t.Fatalf("the first prune removes %+v, want only one archive", retired.Remove)
	}
	plan, err := p.Plan(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 2}, Grace: 15 * time.Minute})
	importertest.Must(t, err)
	if len(plan.Remove.Images) != 1 || len(plan.Remove.Archives) > 0 {
		t.Fatalf("the plan removes %+v, want only app:v1.0.0", plan.Remove)
	}
	now = now.Add(time.Hour)
	_, err = p.Execute(t.Context(), plan)
	importertest.Must(t, err)
	if swept, _, err := p.Sweep(t.Context()); err != nil || len(swept.Remove.Archives) != 1 {
		t.Errorf("Sweep after the prune removes %+v, error %v; want one archive and no error", swept.Remove, err)
	}
}

// An import during the grace period of an archive does not rely on this archive. So the archive is removed after
// the grace period, and the imported image stays, with or without a tag.
func TestImportDuringGracePeriodOfArchive(t *testing.T) {
	for _, tagged := range []bool{false, true} {
		store := filepath.Join(importertest.Scratch(t), "store")
		importertest.Imported(t, store, appBundle(t, "v1.1.0"))
		importertest.Kept(t, store, appBundle(t, "v1.0.0", "v1.1.0"))
		now := time.Now()
		p, err := prune.New(prune.Options{Store: store, Now: func() time.Time { return now }})
		importertest.Must(t, err)
		plan, err := p.Run(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 1}, Grace: 15 * time.Minute})
		importertest.Must(t, err)
		if len(plan.Remove.Images) != 1 || len(plan.Remove.Archives) != 1 {
			t.Fatalf("tagged: %t: the prune removes %+v, want app:v1.0.0 and the archive", tagged, plan.Remove)
		}
		tree := layouttest.New(t, t.TempDir())
		l := tree.Layout("app")
		d := l.Image(layouttest.Image{Name: "v1.0.0", LayerSizes: []int64{5000}}) // the image that only the archive has
		if tagged {
			l.Tag(d, "v1.0.0")
		} else {
			l.Add(d)
		}
		l.Write()
		importertest.Imported(t, store, tree.Dir())
		now = now.Add(15 * time.Minute)
		swept, _, err := p.Sweep(t.Context())
		if err != nil || len(swept.Remove.Images) > 0 || len(swept.Remove.Archives) != 1 {
			t.Errorf("tagged: %t: after the grace period, Sweep removes %+v, error %v; want only the archive and no error", tagged, swept.Remove, err)
		}
		if after := contentOf(t, store); !after.graph["app "+string(d.Digest)] || tagged != (after.tags["app:v1.0.0"] == string(d.Digest)) {
			t.Errorf("tagged: %t: the store has the content %+v, want the imported image %s in it", tagged, after, d.Digest)
		}
	}
}
