package importer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// rival makes a bundle of two archives that have the same tag. An import copies the first archive
// and moves the second.
func rival(t *testing.T, chunked bool) (dir string) {
	t.Helper()
	dir = importertest.Scratch(t)
	a := importertest.ArchiveOf(t, filepath.Join(dir, "a.tar"), "app:stable=a", "app:v1=a")
	importertest.ArchiveOf(t, filepath.Join(dir, "z.tar"), "app:stable=z")
	stay := []string{a}
	if chunked {
		stay = layouttest.Cut(t, a, 3000)
	}
	for _, file := range stay {
		importertest.Must(t, os.Chmod(file, 0o600))
	}
	return dir
}

// If a bundle is imported again, only its copied archives are left. They win no tag from the
// archives that were moved.
func TestKeepPackedReimport(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunked %v", chunked), func(t *testing.T) {
			store, dir := filepath.Join(importertest.Scratch(t), "store"), rival(t, chunked)
			old := importertest.Copied(t, dir)
			want := importertest.MustContent(t, dir)
			importertest.Kept(t, store, dir)
			importertest.Same(t, "the store", importertest.MustContent(t, store), want)
			if _, err := os.Stat(filepath.Join(dir, "z.tar")); err == nil {
				t.Fatal("z.tar stays")
			}
			for range 2 {
				if report := importertest.Kept(t, store, dir); report.Changed || report.Generation != 1 || report.Tags != (importer.Tags{Same: 2}) {
					t.Errorf("again: %+v", report)
				}
				importertest.Same(t, "the store after a second import", importertest.MustContent(t, store), want)
			}

			// A different bundle wins the tags. When the complete old bundle is imported again, it
			// wins them back. A later import of only its copied files changes nothing.
			next := importertest.MustContent(t, importertest.ArchiveOf(t, filepath.Join(importertest.Scratch(t), "b.tar"), "app:stable=b"))
			importertest.Kept(t, store, importertest.ArchiveOf(t, filepath.Join(importertest.Scratch(t), "b.tar"), "app:stable=b"))
			importertest.Same(t, "the store after the import of a different bundle", importertest.MustContent(t, store), want.Over(next))
			if report := importertest.Kept(t, store, old); !report.Changed || report.Generation != 3 || report.Tags != (importer.Tags{Replaced: 1, Same: 1}) {
				t.Errorf("back: %+v", report)
			}
			back := want.Over(next).Over(want)
			importertest.Same(t, "the store after the old bundle won the tags back", importertest.MustContent(t, store), back)
			if report := importertest.Kept(t, store, dir); report.Changed || report.Generation != 3 {
				t.Errorf("again: %+v", report)
			}
			importertest.Same(t, "the store after an import of the copied files only", importertest.MustContent(t, store), back)
		})
	}
}

// A repeated import that repairs the store changes no tag.
func TestKeepPackedReimportRepairs(t *testing.T) {
	store, dir := filepath.Join(importertest.Scratch(t), "store"), rival(t, false)
	importertest.Imported(t, store, filepath.Join(dir, "a.tar"))
	importertest.Kept(t, store, dir)
	want := importertest.MustContent(t, store)
	damaged := 0
	for name, size := range importertest.Files(t, store) {
		if strings.HasPrefix(name, "/app/blobs/") && size == 700 {
			importertest.Must(t, os.Chmod(filepath.Join(store, name), 0o644))
			importertest.Flip(t, filepath.Join(store, name), 300)
			damaged++
		}
	}
	if damaged != 1 {
		t.Fatalf("%d damaged", damaged)
	}
	if report := importertest.Kept(t, store, dir); !report.Changed || report.Blobs.Repaired != 1 || len(report.Packed) > 0 {
		t.Errorf("report %+v", report)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), want)
}
