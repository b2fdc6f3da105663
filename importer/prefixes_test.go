package importer_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// published is one import of a test. files maps the name of each archive to its images.
type published struct {
	packed bool
	chunk  int64 // size of a chunk in bytes, or 0 to keep the archive as one file
	files  map[string][]string
}

func (p published) bundle(t *testing.T, store string) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(store), "in")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(p.files)) {
		archive := importertest.ArchiveOf(t, filepath.Join(dir, name), p.files[name]...)
		if p.chunk > 0 {
			layouttest.Cut(t, archive, p.chunk)
		}
	}
	return dir
}

// importer returns an importer for this import. At each step, it calls the parameter before.
func (p published) importer(t *testing.T, store string, before func(op, path string) error) *importertest.Importer {
	t.Helper()
	i, err := importertest.NewWith(importer.Options{Store: store, KeepPacked: p.packed, Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	i.Before(before)
	return i
}

// sequences returns sequences of imports in all forms: loose, packed and as chunks. Each import
// adds, replaces and keeps tags, because a single tag could not reveal a mixture of two states.
func sequences() map[string][]published {
	first := map[string][]string{"a.tar": {"app:stable=one", "app:v1=one", "app:old=one", "base:v1=base", "only/old:v1=x"}}
	second := map[string][]string{
		"a.tar": {"app:stable=two", "app:v2=two", "app:old=one", "base:v1=other"},
		"b.tar": {"more:v1=more", "base:latest=other"},
	}
	third := map[string][]string{"a.tar": {"app:stable=three", "app:v2=three", "base:v1=base"}}
	loose := func(files map[string][]string) published { return published{files: files} }
	packed := func(files map[string][]string) published { return published{packed: true, files: files} }
	chunks := func(files map[string][]string) published { return published{packed: true, chunk: 3000, files: files} }
	all := map[string][]published{
		"loose, loose":                         {loose(first), loose(second)},
		"loose, packed":                        {loose(first), packed(second)},
		"packed, packed":                       {packed(first), packed(second), packed(first)},
		"packed, loose, packed":                {packed(first), loose(second), packed(third)},
		"loose, packed, loose":                 {loose(first), packed(second), loose(third)},
		"loose, chunks, chunks":                {loose(first), chunks(second), chunks(third)},
		"packed, then chunks of the same name": {packed(first), chunks(first), chunks(second), packed(second)},
	}
	quick := []string{"loose, packed", "packed, loose, packed", "loose, chunks, chunks"}
	if os.Getenv("LAYOUTPROXY_TEST_ALL") == "" {
		maps.DeleteFunc(all, func(name string, _ []published) bool { return !slices.Contains(quick, name) })
		for name := range all {
			all[name] = all[name][:2]
		}
	}
	return all
}

// At each step of an import, a new reader and an existing reader see the old or the new state.
// After the new state, they never see the old one again.
func TestEveryStepShowsOneState(t *testing.T) {
	for name, imports := range sequences() {
		t.Run(name, func(t *testing.T) {
			store := filepath.Join(importertest.Scratch(t), "store")
			before := importertest.Content{}
			for n, p := range imports {
				before = p.watchSteps(t, fmt.Sprint("import ", n+1), store, before)
			}
		})
	}
}

// watchSteps imports the bundle, and reads the store before each step. It returns the content that
// the store must have after the import.
func (p published) watchSteps(t *testing.T, what, store string, old importertest.Content) importertest.Content {
	t.Helper()
	bundle := p.bundle(t, store)
	fresh := old.Over(importertest.MustContent(t, bundle))
	var live *layoutstore.Tree
	var published bool
	look := func(at string) {
		got, err := importertest.ContentOf(t.Context(), store)
		if err != nil {
			t.Fatalf("%s, before step %s: reading the store: %v", what, at, err)
		}
		if now := maps.Equal(got, fresh); !now && (published || !maps.Equal(got, old)) {
			importertest.Same(t, fmt.Sprintf("%s, before step %s: the store has neither the old nor the new content; compared with the new:", what, at), got, fresh)
			t.FailNow()
		} else {
			published = now
		}
		if live == nil {
			if live, err = layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}, Indexes: []string{}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := live.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if seen, err := importertest.ContentOfSnapshot(t.Context(), live.Snapshot()); err != nil || !maps.Equal(seen, got) {
			importertest.Same(t, fmt.Sprintf("%s, before step %s: content that the existing reader sees (error: %v), compared with a new reader's:", what, at, err), seen, got)
			t.FailNow()
		}
	}
	i := p.importer(t, store, func(op, path string) error {
		look(op + " " + path)
		return nil
	})
	if _, err := i.Import(t.Context(), bundle); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if look("the end"); !published {
		t.Fatalf("%s: the store after the import does not have the new content, want it", what)
	}
	return fresh
}

// A reader that reads during several imports sees only published states, in order, and finally the last.
func TestReaderDuringImports(t *testing.T) {
	for name, imports := range sequences() {
		t.Run(name, func(t *testing.T) {
			store := filepath.Join(importertest.Scratch(t), "store")
			importertest.Imported(t, store, published{files: map[string][]string{"zero.tar": {"zero:v1=zero"}}}.bundle(t, store))
			states := []importertest.Content{importertest.MustContent(t, store)}
			bundles := make([]string, len(imports))
			for n, p := range imports {
				bundles[n] = p.bundle(t, store)
				states = append(states, states[n].Over(importertest.MustContent(t, bundles[n])))
			}
			done, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				readOn(t, store, states, done)
			}()
			for n, p := range imports {
				if _, err := p.importer(t, store, nil).Import(t.Context(), bundles[n]); err != nil {
					t.Errorf("import %d failed: %v", n+1, err)
				}
			}
			close(done)
			<-ended
		})
	}
}

// readOn reads a store until done is closed, and then once more. It fails the test if it sees an
// unknown state, or an earlier state after a later one.
func readOn(t *testing.T, store string, states []importertest.Content, done <-chan struct{}) {
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}, Indexes: []string{}})
	if err != nil {
		t.Error(err)
		return
	}
	for at, last := 0, false; !last; {
		select {
		case <-done:
			last = true
		default:
		}
		if _, err := tree.Refresh(t.Context()); err != nil {
			t.Error(err)
			return
		}
		got := importertest.TagsOf(tree.Snapshot())
		for at < len(states) && !maps.Equal(got, states[at]) {
			at++
		}
		if at == len(states) || last && at != len(states)-1 {
			importertest.Same(t, "the reader saw none of the states that may follow; compared with the last one:", got, states[len(states)-1])
			return
		}
	}
}

// The publication of an index that would be too long for readers fails before anything changes.
func TestIndexTooLongToRead(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, store, published{files: map[string][]string{"a.tar": {"app:v1=one"}}}.bundle(t, store))
	before := importertest.Files(t, store)
	j := &journal.Journal{Generation: 2, Indexes: []journal.IndexChange{{Path: "app", New: make([]byte, layoutstore.MaxIndex+1)}}}
	err := importertest.New(t, store).Publish(t.Context(), j)
	if !errors.Is(err, journal.ErrTooLong) || !strings.Contains(err.Error(), "the index of app would have") {
		t.Errorf("%v", err)
	}
	if got := importertest.Files(t, store); !maps.Equal(got, before) {
		t.Errorf("the store after the failed publication: got %v, want no change", got)
	}
}
