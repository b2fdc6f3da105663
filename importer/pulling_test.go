package importer_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// If a pull has not moved its new archives into place yet, an import already reads the new
// archives. With KeepPacked, the import fails until the pull has moved them.
func TestImportDuringPull(t *testing.T) {
	store, dir := filepath.Join(importertest.Scratch(t), "store"), t.TempDir()
	importertest.Pulling(t, dir)
	var incomplete *importer.IncompleteError
	if _, err := importertest.Packing(t, store).Import(t.Context(), dir); !errors.As(err, &incomplete) || len(incomplete.Problems) != 1 || incomplete.Problems[0].Path != dir {
		t.Errorf("import with KeepPacked: got error %v, want one problem, about the directory that a pull is filling", err)
	}
	importertest.Imported(t, store, dir)
	got := importertest.MustContent(t, store)
	importertest.FinishPull(t, dir)
	importertest.Same(t, "the store", got, importertest.MustContent(t, dir))
	packed := filepath.Join(importertest.Scratch(t), "packed")
	importertest.Kept(t, packed, dir)
	importertest.Same(t, "the packed store", importertest.MustContent(t, packed), got)
}

// If an archive that a pull has staged is lost, an import fails.
func TestImportDuringPullWithLostFiles(t *testing.T) {
	store, dir := filepath.Join(importertest.Scratch(t), "store"), t.TempDir()
	importertest.Pulling(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, volume.StagedDir(1))); err != nil {
		t.Fatal(err)
	}
	var incomplete *importer.IncompleteError
	for _, source := range []string{dir, filepath.Join(dir, "a.tar")} {
		if _, err := importertest.New(t, store).Import(t.Context(), source); !errors.As(err, &incomplete) || len(importertest.MustContent(t, store)) > 0 {
			t.Errorf("%s: %v", source, err)
		}
	}
}
