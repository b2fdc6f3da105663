package layoutstore_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func open(t *testing.T, sources ...string) *layoutstore.Tree {
	t.Helper()
	return openWith(t, layoutstore.Options{Sources: sources})
}

func openWith(t *testing.T, o layoutstore.Options) *layoutstore.Tree {
	t.Helper()
	tree, err := layoutstore.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// put writes a layout at path below dir, with one image per tag. It returns the digests by tag.
// Different seeds give different images.
func put(t *testing.T, dir, path, seed string, tags ...string) map[string]digest.Digest {
	t.Helper()
	l := layouttest.New(t, dir).Layout(path)
	have := map[string]digest.Digest{}
	for _, tag := range tags {
		d := l.Image(layouttest.Image{Name: seed + tag, LayerSizes: []int64{100}})
		have[tag] = d.Digest
		l.Tag(d, tag)
	}
	l.Write()
	return have
}

func refresh(t *testing.T, tree *layoutstore.Tree) layoutstore.Change {
	t.Helper()
	change, err := tree.Refresh(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return change
}

// served returns all tags of a tree, in the form REPOSITORY:TAG.
func served(t *testing.T, tree *layoutstore.Tree) []string {
	t.Helper()
	var all []string
	s := tree.Snapshot()
	names, _ := s.Repositories("", -1)
	for _, name := range names {
		tags, _ := repository(t, tree, name).Tags("", -1)
		for _, tag := range tags {
			all = append(all, name+":"+tag)
		}
	}
	return all
}

func repository(t *testing.T, tree *layoutstore.Tree, name string) *layoutstore.Repository {
	t.Helper()
	r, err := tree.Snapshot().Repository(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// problems checks a tree, and returns its problems of the given kind.
func problems(t *testing.T, tree *layoutstore.Tree, kind layoutstore.Kind) []layoutstore.Problem {
	t.Helper()
	s := tree.Snapshot()
	if err := s.Check(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(problemsOf(s), func(p layoutstore.Problem) bool { return p.Kind != kind })
}

const ee = "deckhouse/ee"

func TestSourcesAreMerged(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	first := put(t, one, "install", "one", "v1", "v2")
	second := put(t, two, "install", "two", "v2", "v3")
	for _, order := range [][]string{{one, two}, {two, one}} {
		tree := open(t, order...)
		want := []string{ee + "/install:v1", ee + "/install:v2", ee + "/install:v3"}
		if diff := cmp.Diff(want, served(t, tree)); diff != "" {
			t.Error(diff)
		}
		r := repository(t, tree, ee+"/install")
		winner, loser := second["v2"], first["v2"]
		if order[0] == two {
			winner, loser = loser, winner
		}
		if d, err := r.Tag(t.Context(), "v2"); d.Digest != winner {
			t.Errorf("Tag(v2): got digest %s (error %v), want that of the later source: %s", d.Digest, err, winner)
		}
		if _, err := r.Manifest(context.Background(), loser); err != nil {
			t.Errorf("Manifest(digest of the manifest whose tag was overridden): got error %v, want none", err)
		}
		found := problems(t, tree, layoutstore.Conflict)
		if len(found) != 1 || found[0].Tag() != "v2" || found[0].Digest != winner || !strings.Contains(found[0].Reason, string(loser)) {
			t.Errorf("got the conflicts %v, want one about the tag v2 and both digests", found)
		}
	}
}

func TestLastDescriptorWithATagWins(t *testing.T) {
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("install")
	first := l.Image(layouttest.Image{Name: "first"})
	second := l.Image(layouttest.Image{Name: "second"})
	l.Tag(first, "v1")
	l.Tag(second, "v1")
	l.Write()
	tree := open(t, dir)
	r := repository(t, tree, ee+"/install")
	if d, err := r.Tag(t.Context(), "v1"); d.Digest != second.Digest {
		t.Errorf("Tag(v1): got digest %s (error %v), want the last one: %s", d.Digest, err, second.Digest)
	}
	if _, err := r.Manifest(context.Background(), first.Digest); err != nil {
		t.Error(err)
	}
	if all := problemsOf(tree.Snapshot()); len(all) > 0 {
		t.Errorf("got the problems %v, want none", all)
	}
}

func TestRefreshSeesChangesAndReusesTheRest(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "install", "a", "v1")
	put(t, dir, "modules/x", "a", "v1")
	tree := open(t, dir)
	if c := refresh(t, tree); c.Changed || c.Generation != 1 {
		t.Errorf("Refresh without a change = %+v, want Changed = false and generation 1", c)
	}
	kept := repository(t, tree, ee+"/modules/x")

	put(t, dir, "install", "a", "v1", "v2")
	if c := refresh(t, tree); !c.Changed || c.Generation != 2 {
		t.Errorf("Refresh with a new tag = %+v, want Changed = true and generation 2", c)
	}
	if diff := cmp.Diff([]string{ee + "/install:v1", ee + "/install:v2", ee + "/modules:x", ee + "/modules/x:v1"}, served(t, tree)); diff != "" {
		t.Error(diff)
	}
	if repository(t, tree, ee+"/modules/x") != kept {
		t.Error("Refresh replaced an unchanged repository, want it reused")
	}

	put(t, dir, "modules/y", "a", "v1")
	refresh(t, tree)
	if tags, _ := repository(t, tree, ee+"/modules").Tags("", -1); !slices.Equal(tags, []string{"x", "y"}) {
		t.Errorf("discovery tags of modules: got %v, want x and y", tags)
	}
	if err := os.RemoveAll(filepath.Join(dir, "modules")); err != nil {
		t.Fatal(err)
	}
	refresh(t, tree)
	if _, err := tree.Snapshot().Repository(ee + "/modules"); !errors.Is(err, layoutstore.ErrRepositoryUnknown) {
		t.Errorf("Repository(%s/modules) without modules: got error %v, want ErrRepositoryUnknown", ee, err)
	}
}

func TestHalfWrittenIndexKeepsLastState(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "install", "a", "v1")
	put(t, dir, "other", "a", "v1")
	index := filepath.Join(dir, "install/index.json")
	if err := os.WriteFile(filepath.Join(dir, "other/index.json"), []byte(`{"schemaVersion":2,`), 0o644); err != nil {
		t.Fatal(err)
	}
	tree := open(t, dir)
	if diff := cmp.Diff([]string{ee + "/install:v1"}, served(t, tree)); diff != "" {
		t.Error("tags at the first start (-want +got): " + diff)
	}
	if err := os.Truncate(index, 40); err != nil {
		t.Fatal(err)
	}
	refresh(t, tree)
	if diff := cmp.Diff([]string{ee + "/install:v1"}, served(t, tree)); diff != "" {
		t.Error("tags after the index was truncated (-want +got): " + diff)
	}
	var paths []string
	for _, p := range problems(t, tree, layoutstore.Damaged) {
		paths = append(paths, p.Path)
	}
	if diff := cmp.Diff([]string{index, filepath.Join(dir, "other/index.json")}, paths); diff != "" {
		t.Error(diff)
	}
	put(t, dir, "install", "a", "v2")
	refresh(t, tree)
	if diff := cmp.Diff([]string{ee + "/install:v2"}, served(t, tree)); diff != "" {
		t.Error(diff)
	}
}

func TestBlobArrivesLater(t *testing.T) {
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("install")
	d := l.Image(layouttest.Image{Name: "a", LayerSizes: []int64{100}})
	l.Tag(d, "v1")
	l.Write()
	late := l.BlobPath(d.Digest)
	if err := os.Rename(late, late+".away"); err != nil {
		t.Fatal(err)
	}
	tree := open(t, dir)
	if p := problems(t, tree, layoutstore.Incomplete); len(p) != 1 || p[0].Digest != d.Digest || p[0].Tag() != "v1" || p[0].Repository != ee+"/install" {
		t.Errorf("got the problems %v, want one about the missing manifest of the tag v1", p)
	}
	if c := refresh(t, tree); c.Changed {
		t.Errorf("Refresh without a change = %+v, want Changed = false", c)
	}
	if err := os.Rename(late+".away", late); err != nil {
		t.Fatal(err)
	}
	refresh(t, tree)
	if p := problemsOf(tree.Snapshot()); len(p) > 0 {
		t.Errorf("after the blob has arrived: got the problems %v, want none", p)
	}
	if _, err := repository(t, tree, ee+"/install").Manifest(context.Background(), d.Digest); err != nil {
		t.Error(err)
	}
}

func TestSourceDisappearsAndReturns(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "bundle")
	put(t, dir, "install", "a", "v1")
	if _, err := layoutstore.Open(context.Background(), layoutstore.Options{Sources: []string{dir, dir + "2"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open(missing source): got error %v, want os.ErrNotExist", err)
	}
	tree := open(t, dir)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	refresh(t, tree)
	if got := served(t, tree); len(got) > 0 {
		t.Errorf("missing source: got the tags %v, want none", got)
	}
	if s := tree.Snapshot().Sources(); s[0].State != "missing" || s[0].Detail == "" {
		t.Errorf("missing source: got the status %+v, want the state missing and a detail", s[0])
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	refresh(t, tree)
	if diff := cmp.Diff([]string{ee + "/install:v1"}, served(t, tree)); diff != "" {
		t.Error(diff)
	}
}

func TestSourceBehindASwappedLink(t *testing.T) {
	parent := t.TempDir()
	put(t, filepath.Join(parent, "one"), "install", "a", "v1")
	put(t, filepath.Join(parent, "two"), "install", "b", "v1", "v2")
	link := filepath.Join(parent, "current")
	if err := os.Symlink("one", link); err != nil {
		t.Fatal(err)
	}
	tree := open(t, link)
	old := repository(t, tree, ee+"/install")
	if err := os.Symlink("two", link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
	refresh(t, tree)
	if diff := cmp.Diff([]string{ee + "/install:v1", ee + "/install:v2"}, served(t, tree)); diff != "" {
		t.Error(diff)
	}
	// An old snapshot still works after a refresh has replaced it.
	d, err := old.Tag(t.Context(), "v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Manifest(context.Background(), d.Digest); err != nil {
		t.Error(err)
	}
}

func TestRootsChangeWithTheTree(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "install", "a", "v1")
	tree := open(t, dir)
	tr := layouttest.New(t, dir)
	tr.Source = "registry.example/mirror/fe"
	l := tr.Layout(".")
	for _, tag := range []string{"v1", "v2"} {
		l.Tag(l.Image(layouttest.Image{Name: tag}), tag)
	}
	l.Write()
	if c := refresh(t, tree); !c.Roots {
		t.Errorf("Refresh = %+v, want Roots = true", c)
	}
	if diff := cmp.Diff([]string{"mirror/fe:v1", "mirror/fe:v2", "mirror/fe/install:v1"}, served(t, tree)); diff != "" {
		t.Error(diff)
	}
}

func TestInvalidOptionsAreRefused(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "install", "a", "v1")
	for name, c := range map[string]struct {
		options layoutstore.Options
		want    error
	}{
		"no source":               {layoutstore.Options{}, layoutstore.ErrNoSource},
		"illegal root":            {layoutstore.Options{Sources: []string{dir}, Roots: []string{"A"}}, layoutstore.ErrRootInvalid},
		"illegal index":           {layoutstore.Options{Sources: []string{dir}, Indexes: []string{"/modules"}}, layoutstore.ErrRootInvalid},
		"a root that is too long": {layoutstore.Options{Sources: []string{dir}, Roots: []string{strings.Repeat("a", 256)}}, layoutstore.ErrRootInvalid},
	} {
		if _, err := layoutstore.Open(context.Background(), c.options); !errors.Is(err, c.want) {
			t.Errorf("Open with %s: got the error %v, want that of the test case", name, err)
		}
	}
}

func TestIllegalRepositoryNamesAreReported(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "Modules/X", "a", "v1")
	put(t, dir, ".", "a", "v1")
	long := strings.Repeat("a", 250)
	put(t, dir, long, "a", "v1")
	tree := openWith(t, layoutstore.Options{Sources: []string{dir}, Roots: []string{""}})
	if diff := cmp.Diff([]string{long + ":v1"}, served(t, tree)); diff != "" {
		t.Error(diff)
	}
	if p := problems(t, tree, layoutstore.IllegalName); len(p) != 2 {
		t.Errorf("got problems %v, want those of the root layout and Modules/X", p)
	}
	tree = openWith(t, layoutstore.Options{Sources: []string{dir}, Roots: []string{"system/deckhouse"}})
	if diff := cmp.Diff([]string{"system/deckhouse:v1"}, served(t, tree)); diff != "" {
		t.Error(diff)
	}
	if p := problems(t, tree, layoutstore.IllegalName); len(p) != 2 {
		t.Errorf("got problems %v, want those of Modules/X and the long name", p)
	}
}

func TestSameNameBelowTwoRoots(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a/x", "one", "v1")
	put(t, dir, "x", "two", "v2")
	tree := openWith(t, layoutstore.Options{Sources: []string{dir}, Roots: []string{"", "a"}})
	if diff := cmp.Diff([]string{"a/a/x:v1", "a/x:v1", "x:v2"}, served(t, tree)); diff != "" {
		t.Error(diff)
	}
	if p := problems(t, tree, layoutstore.Conflict); len(p) != 1 || p[0].Repository != "a/x" {
		t.Errorf("got the conflicts %v, want one about the repository a/x", p)
	}
}

// While scans change the tree, readers get complete content.
func TestReadersDuringRefreshes(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "install", "a", "v1")
	tree := open(t, dir)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				r, err := tree.Snapshot().Repository(ee + "/install")
				if err != nil {
					t.Error(err)
					return
				}
				tags, _ := r.Tags("", -1)
				for _, tag := range tags {
					d, err := r.Tag(t.Context(), tag)
					if err != nil {
						t.Error(err)
					}
					if _, err := r.Manifest(context.Background(), d.Digest); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for i := range 30 {
		put(t, dir, "install", "a", "v1", "v"+strings.Repeat("i", i+1))
		var refreshes sync.WaitGroup
		for range 3 {
			refreshes.Go(func() { refresh(t, tree) })
		}
		refreshes.Wait()
	}
	close(done)
	readers.Wait()
	if g := tree.Snapshot().Generation(); g != 31 {
		t.Errorf("got generation %d after 30 changes, want 31", g)
	}
}

func TestBlobCanBeOpenedAndRead(t *testing.T) {
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("install")
	d := l.Blob("application/octet-stream", []byte("unreferenced"))
	l.Write()
	tree := openWith(t, layoutstore.Options{Sources: []string{dir}, Roots: []string{""}})
	blob, err := repository(t, tree, "install").Blob(context.Background(), d.Digest)
	if err != nil {
		t.Fatal(err)
	}
	r, err := blob.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); string(got) != "unreferenced" || err != nil {
		t.Errorf("content of the blob: got %q and the error %v, want unreferenced", got, err)
	}
}

// problemsOf returns the problems of a snapshot. If Problems fails, its error is the only problem.
func problemsOf(s *layoutstore.Snapshot) []layoutstore.Problem {
	all, err := s.Problems(context.Background())
	if err != nil {
		return []layoutstore.Problem{{Reason: err.Error()}}
	}
	return all
}
