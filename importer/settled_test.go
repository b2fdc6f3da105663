package importer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// rival makes a bundle of two archives that have one tag, of which the first stays where
// it is when it is imported.
func rival(t *testing.T, chunked bool) (dir string) {
	t.Helper()
	dir = scratch(t)
	a := archiveOf(t, filepath.Join(dir, "a.tar"), "app:stable=a", "app:v1=a")
	archiveOf(t, filepath.Join(dir, "z.tar"), "app:stable=z")
	stay := []string{a}
	if chunked {
		stay = layouttest.Cut(t, a, 3000)
	}
	for _, file := range stay {
		must(t, os.Chmod(file, 0o600))
	}
	return dir
}

// The same import again finds only the archives that stayed. They win no tag from those
// that were moved.
func TestKeepPackedAgain(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunked %v", chunked), func(t *testing.T) {
			store, dir := filepath.Join(scratch(t), "store"), rival(t, chunked)
			old := copied(t, dir)
			want := mustContent(t, dir)
			kept(t, store, dir)
			same(t, "the store", mustContent(t, store), want)
			if _, err := os.Stat(filepath.Join(dir, "z.tar")); err == nil {
				t.Fatal("z.tar stays")
			}
			for range 2 {
				if report := kept(t, store, dir); report.Changed || report.Generation != 1 || report.Tags != (importer.Tags{Same: 2}) {
					t.Errorf("again: %+v", report)
				}
				same(t, "the store, again", mustContent(t, store), want)
			}

			// Another bundle wins, the old one wins when it is imported on purpose, and what
			// stayed of it changes nothing then.
			next := mustContent(t, archiveOf(t, filepath.Join(scratch(t), "b.tar"), "app:stable=b"))
			kept(t, store, archiveOf(t, filepath.Join(scratch(t), "b.tar"), "app:stable=b"))
			same(t, "the store, after another bundle", mustContent(t, store), want.over(next))
			if report := kept(t, store, old); !report.Changed || report.Generation != 3 || report.Tags != (importer.Tags{Replaced: 1, Same: 1}) {
				t.Errorf("back: %+v", report)
			}
			back := want.over(next).over(want)
			same(t, "the store, back", mustContent(t, store), back)
			if report := kept(t, store, dir); report.Changed || report.Generation != 3 {
				t.Errorf("again: %+v", report)
			}
			same(t, "the store, back and again", mustContent(t, store), back)
		})
	}
}

// A repair that comes with such an import changes no tag either.
func TestKeepPackedAgainRepairs(t *testing.T) {
	store, dir := filepath.Join(scratch(t), "store"), rival(t, false)
	imported(t, store, filepath.Join(dir, "a.tar"))
	kept(t, store, dir)
	want := mustContent(t, store)
	damaged := 0
	for name, size := range files(t, store) {
		if strings.HasPrefix(name, "/app/blobs/") && size == 700 {
			must(t, os.Chmod(filepath.Join(store, name), 0o644))
			flip(t, filepath.Join(store, name), 300)
			damaged++
		}
	}
	if damaged != 1 {
		t.Fatalf("%d damaged", damaged)
	}
	if report := kept(t, store, dir); !report.Changed || report.Blobs.Repaired != 1 || len(report.Packed) > 0 {
		t.Errorf("report %+v", report)
	}
	same(t, "the store", mustContent(t, store), want)
}
