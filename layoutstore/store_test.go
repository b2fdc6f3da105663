package layoutstore_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// publishing returns a store in which an import stopped before its publication was complete. All
// new files are in place: a new index of the layout a, the layout b and the archive new.tar.
func publishing(t *testing.T) (dir string, old, fresh []byte) {
	t.Helper()
	dir = t.TempDir()
	tree := layouttest.New(t, dir)
	a := tree.Layout("a")
	a.Tag(a.Image(layouttest.Image{Name: "old"}), "v1")
	a.Write()
	index := filepath.Join(a.Dir(), "index.json")
	old = layouttest.ReadFile(t, index)
	a.Tag(a.Image(layouttest.Image{Name: "new"}), "v1")
	a.Write()
	fresh = layouttest.ReadFile(t, index)
	b := tree.Layout("b")
	b.Tag(b.Image(layouttest.Image{Name: "b"}), "v1")
	b.Write()
	packed := layouttest.New(t, t.TempDir())
	c := packed.Layout("c")
	c.Tag(c.Image(layouttest.Image{Name: "c"}), "v1")
	c.Write()
	packed.Archive(filepath.Join(dir, "new.tar"), layouttest.Archive{})
	if err := os.Mkdir(filepath.Join(dir, journal.Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	writeState(t, dir, journal.State{Format: journal.Format, Generation: 4})
	writeJournal(t, dir, journal.Journal{Generation: 5,
		Packed:  []journal.Packed{{File: "new.tar", Name: "new.tar", Generation: 5}},
		Indexes: []journal.IndexChange{{Path: "a", Old: old, New: fresh}, {Path: "b", New: layouttest.ReadFile(t, filepath.Join(b.Dir(), "index.json"))}}})
	return dir, old, fresh
}

func writeState(t *testing.T, dir string, s journal.State) {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(dir, journal.StateFile), data)
}

func writeJournal(t *testing.T, dir string, j journal.Journal) {
	t.Helper()
	var b bytes.Buffer
	if _, err := j.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(dir, journal.File), b.Bytes())
}

// replace replaces a file by renaming a new file over it, as an import does.
func replace(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file+".tmp", data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".tmp", file); err != nil {
		t.Fatal(err)
	}
}

// While a journal exists, the old tree is served. Without it, the new tree is served. This is true
// for first scans and for rescans.
func TestJournalHidesUnpublishedContent(t *testing.T) {
	dir, _, _ := publishing(t)
	open := func() *layoutstore.Tree {
		t.Helper()
		tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Indexes: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	see := func(s *layoutstore.Snapshot, paths ...string) {
		t.Helper()
		if err := s.Check(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if got := s.Paths(); !slices.Equal(got, paths) || len(problemsOf(s)) > 0 {
			t.Errorf("got paths %q and problems %v, want paths %q and no problems", got, problemsOf(s), paths)
		}
	}
	digestOf := func(s *layoutstore.Snapshot) string {
		t.Helper()
		repo, err := s.At("a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := repo.Layouts()[0].Index(t.Context()); err != nil {
			t.Errorf("Index of the layout a: got error %v, want none", err)
		}
		d, err := repo.Tag(t.Context(), "v1")
		if err != nil {
			t.Fatal(err)
		}
		return string(d.Digest)
	}
	tree := open()
	see(tree.Snapshot(), "a")
	old := digestOf(tree.Snapshot())
	if change, err := tree.Refresh(t.Context()); err != nil || change.Changed {
		t.Errorf("Refresh without a change = %+v, error %v; want Changed = false and no error", change, err)
	}
	writeState(t, dir, journal.State{Format: journal.Format, Generation: 5, Packed: []journal.Packed{{File: "new.tar", Name: "new.tar", Generation: 5}}})
	if err := os.Remove(filepath.Join(dir, journal.File)); err != nil {
		t.Fatal(err)
	}
	if change, err := tree.Refresh(t.Context()); err != nil || !change.Changed {
		t.Errorf("Refresh after the publication = %+v, error %v; want Changed = true and no error", change, err)
	}
	for _, s := range []*layoutstore.Snapshot{tree.Snapshot(), open().Snapshot()} {
		see(s, "a", "b", "c")
		if digestOf(s) == old {
			t.Error("tag v1 after the publication: got the old manifest, want the new one")
		}
	}
}

// A journal that is invalid or has a later version is a problem, and hides no content.
func TestInvalidStoreFilesAreReported(t *testing.T) {
	for name, spoil := range map[string]func(dir string){
		"journal":        func(dir string) { replace(t, filepath.Join(dir, journal.File), []byte("{")) },
		"journal format": func(dir string) { replace(t, filepath.Join(dir, journal.File), []byte("{\"format\":9}\n")) },
		"journal length": func(dir string) {
			f := filepath.Join(dir, journal.File)
			replace(t, f, layouttest.ReadFile(t, f)[:200])
		},
		"state":        func(dir string) { replace(t, filepath.Join(dir, journal.StateFile), []byte("x")) },
		"state format": func(dir string) { replace(t, filepath.Join(dir, journal.StateFile), []byte(`{"format":9}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, _, _ := publishing(t)
			tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Indexes: []string{}})
			if err != nil {
				t.Fatal(err)
			}
			spoil(dir)
			if _, err := tree.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := tree.Snapshot()
			if p := problemsOf(s); len(p) != 1 || !strings.Contains(p[0].Reason, "of the store") || !slices.Equal(s.Paths(), []string{"a"}) {
				t.Errorf("got the paths %q and the problems %v, want only the path a, and one problem of the store", s.Paths(), p)
			}
		})
	}
}

// While a prune has removed the tags of an archive, but not yet the archive itself, a rescan without a change
// makes no new generation. The archive is served by digest only, until its tags are back.
func TestRescanOfRetiredArchiveChangesNothing(t *testing.T) {
	dir, _, _ := publishing(t)
	if err := os.Remove(filepath.Join(dir, journal.File)); err != nil {
		t.Fatal(err)
	}
	due := time.Now().Add(time.Hour)
	state := journal.State{Format: journal.Format, Generation: 5, Packed: []journal.Packed{{File: "new.tar", Name: "new.tar", Generation: 5, Retired: &due}}}
	writeState(t, dir, state)
	tree := openWith(t, layoutstore.Options{Sources: []string{dir}, Roots: []string{""}, Indexes: []string{}})
	for range 2 {
		if change := refresh(t, tree); change.Changed {
			t.Errorf("Refresh without a change = %+v, want Changed = false", change)
		}
		if got, want := served(t, tree), []string{"a:v1", "b:v1"}; !slices.Equal(got, want) {
			t.Errorf("tags while an archive is retired: got %q, want %q", got, want)
		}
	}
	state.Generation, state.Packed[0].Retired = 6, nil
	writeState(t, dir, state)
	if change := refresh(t, tree); !change.Changed {
		t.Errorf("Refresh after the archive got its tags back = %+v, want Changed = true", change)
	}
	if got, want := served(t, tree), []string{"a:v1", "b:v1", "c:v1"}; !slices.Equal(got, want) {
		t.Errorf("tags after the archive got its tags back: got %q, want %q", got, want)
	}
}
