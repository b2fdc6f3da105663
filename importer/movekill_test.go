package importer_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/importertest"
)

// If a process is killed while it moves archives into the store, the next import or start of a
// server completes the moves of published archives. New files that arrive under the old names stay
// in place.
func TestKilledWhileArchivesMove(t *testing.T) {
	for n := 1; ; n++ {
		if !killedPacking(t, n, false) {
			if n < 9 {
				t.Errorf("the import has only %d steps, want at least 9", n)
			}
			break
		}
		killedPacking(t, n, true)
	}
}

func killedPacking(t *testing.T, n int, meddle bool) bool {
	t.Helper()
	dir, store := importertest.Scratch(t), filepath.Join(importertest.Scratch(t), "store")
	importertest.Chunks(t, dir)
	before, want := importertest.Contents(t, dir), importertest.MustContent(t, dir)
	died := importertest.EndsAt(n, importertest.Leaves, func(hook func(op, path string) error) {
		i := importertest.Packing(t, store)
		i.Before(hook)
		if _, err := i.Import(context.Background(), dir); err != nil {
			t.Error(err)
		}
	})
	late := ""
	if meddle {
		if late = importertest.Meddle(t, dir, before); strings.HasSuffix(late, ".gostsum") {
			// Meddle replaced a checksum file, which no import moves, so no chunk arrived late.
			return died
		}
	}
	other := importertest.App(t, "b", "1.0")
	if n%2 == 0 {
		importertest.Must(t, importertest.New(t, store).Recover(t.Context()))
	} else {
		importertest.Imported(t, store, other)
	}
	got := importertest.MustContent(t, store)
	published := maps.Equal(got, want) || maps.Equal(got, want.Over(importertest.MustContent(t, other)))
	if !published && !meddle {
		importertest.Kept(t, store, dir)
	}
	after := importertest.Contents(t, dir)
	if meddle && after[late] != "came later" {
		t.Errorf("step %d: the file that arrived later is gone, want it to stay; files are %v", n, after)
	}
	for name := range before {
		if _, stays := after[name]; stays && name != late && !strings.HasSuffix(name, ".gostsum") && (published || !meddle) {
			t.Errorf("step %d, new file %q, published %v: the old name %s still exists, want it removed", n, late, published, name)
		}
	}
	if left := importertest.Unfinished(t, store); len(left) > 0 {
		t.Errorf("step %d: unfinished files in the store: got %v, want none", n, left)
	}
	own, err := os.Stat(filepath.Join(store, ".layoutproxy/store.json"))
	importertest.Must(t, err)
	for name := range before {
		info, err := os.Stat(filepath.Join(store, name))
		if err == nil && name != late && info.Mode() != own.Mode() {
			t.Errorf("step %d: %s has the mode %v in the store, want %v", n, name, info.Mode(), own.Mode())
		}
	}
	return died
}
