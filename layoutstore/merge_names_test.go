package layoutstore_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func TestSourcesWithRootsOfTheirOwn(t *testing.T) {
	shared, own, below := t.TempDir(), t.TempDir(), t.TempDir()
	put(t, shared, "install", "a", "v1")
	put(t, own, "install", "b", "v1", "v2")
	put(t, own, "modules/console", "b", "v1")
	put(t, below, "modules/prompp", "c", "v1")
	tree := openWith(t, layoutstore.Options{
		Sources: []string{shared, own + "/", below},
		Roots:   []string{"system/deckhouse"},
		SourceRoots: map[string][]string{
			own + "/": {"other", "system/deckhouse"},
			below:     {"other"},
		},
	})
	want := []string{
		"other/install:v1", "other/install:v2",
		"other/modules:console", "other/modules:prompp", // discovery tags from two sources
		"other/modules/console:v1", "other/modules/prompp:v1",
		"system/deckhouse/install:v1", "system/deckhouse/install:v2", // tags from two sources
		"system/deckhouse/modules:console",
		"system/deckhouse/modules/console:v1",
	}
	if diff := cmp.Diff(want, served(t, tree)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"system/deckhouse", "other"}, tree.Snapshot().Roots()); diff != "" {
		t.Error(diff)
	}
	conflicts := problems(t, tree, layoutstore.Conflict)
	if len(conflicts) != 1 || conflicts[0].Tag() != "v1" || conflicts[0].Repository != "system/deckhouse/install" {
		t.Errorf("got conflicts %v, want one, about the tag v1 in two sources", conflicts)
	}
	// A refresh reuses unchanged repositories. A change affects both names of a repository.
	before := repository(t, tree, "other/modules/console")
	put(t, own, "install", "b", "v3")
	refresh(t, tree)
	if repository(t, tree, "other/modules/console") != before {
		t.Error("Refresh replaced an unchanged repository, want it reused")
	}
	for _, name := range []string{"other/install", "system/deckhouse/install"} {
		if _, err := repository(t, tree, name).Tag(t.Context(), "v3"); err != nil {
			t.Errorf("%s: Tag(v3) after a refresh: got the error %v, want none", name, err)
		}
	}
}

// If two bundles have different editions, each is served below the root in its own references.
func TestAutoRootsOfSources(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	putBelow(t, one, "deckhouse/ee", "install", "v1")
	putBelow(t, two, "deckhouse/fe", "install", "v2")
	auto := []string{layoutstore.AutoRoot}
	tree := openWith(t, layoutstore.Options{Sources: []string{one, two}, SourceRoots: map[string][]string{one: auto, two: auto}})
	if diff := cmp.Diff([]string{"deckhouse/ee/install:v1", "deckhouse/fe/install:v2"}, served(t, tree)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"deckhouse/ee", "deckhouse/fe"}, tree.Snapshot().Roots()); diff != "" {
		t.Error(diff)
	}
}

func TestReconfigureChangesSources(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	put(t, one, "install", "a", "v1")
	put(t, two, "release", "b", "v1")
	ctx := context.Background()
	tree := openWith(t, layoutstore.Options{Sources: []string{one}, Roots: []string{""}})
	held := repository(t, tree, "install")
	change, err := tree.Reconfigure(ctx, layoutstore.Options{Sources: []string{two, one}, Roots: []string{"x"}})
	if err != nil || !change.Changed || !change.Roots || change.Generation != 2 {
		t.Fatalf("Reconfigure with another source and root = %+v, error %v; want Changed, Roots, generation 2 and no error", change, err)
	}
	want := []string{"x/install:v1", "x/release:v1"}
	if diff := cmp.Diff(want, served(t, tree)); diff != "" {
		t.Error(diff)
	}
	if repository(t, tree, "x/install") != held {
		t.Error("Reconfigure replaced the repository of an unchanged source, want it reused")
	}
	for name, o := range map[string]struct {
		layoutstore.Options
		want error
	}{
		"a missing source":            {layoutstore.Options{Sources: []string{one, filepath.Join(two, "nowhere")}}, fs.ErrNotExist},
		"an illegal root":             {layoutstore.Options{Sources: []string{one}, Roots: []string{"X"}}, layoutstore.ErrRootInvalid},
		"an illegal root of a source": {layoutstore.Options{Sources: []string{one}, SourceRoots: map[string][]string{one: {"X"}}}, layoutstore.ErrRootInvalid},
		"no source":                   {layoutstore.Options{}, layoutstore.ErrNoSource},
	} {
		if _, err := tree.Reconfigure(ctx, o.Options); !errors.Is(err, o.want) {
			t.Errorf("Reconfigure with %s: got the error %v, want that of the test case", name, err)
		}
		refresh(t, tree)
		if diff := cmp.Diff(want, served(t, tree)); diff != "" {
			t.Errorf("tags after Reconfigure with %s (-want +got): %s", name, diff)
		}
	}
	// Now use the first options again, without one of the sources.
	if _, err := tree.Reconfigure(ctx, layoutstore.Options{Sources: []string{two}, Roots: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"x/release:v1"}, served(t, tree)); diff != "" {
		t.Error(diff)
	}
}

// putBelow writes a layout with one image. The name of the image in index.json contains the root.
func putBelow(t *testing.T, dir, root, path, tag string) {
	t.Helper()
	tree := layouttest.New(t, dir)
	tree.Source = "registry.example/" + root
	l := tree.Layout(path)
	l.Tag(l.Image(layouttest.Image{Name: tag}), tag)
	l.Write()
}
