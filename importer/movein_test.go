package importer_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// An archive is copied instead of moved if it has a second hard link or if its mode does not let
// every user read it. Otherwise the store's file could be changed through the link, or a server
// could be unable to read it.
func TestKeepPackedCopiesSharedArchives(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *testing.T, archive string) (other string)
		reason string
	}{
		"a second hard link": {func(t *testing.T, archive string) string {
			other := archive + ".backup"
			if err := os.Link(archive, other); err != nil {
				t.Fatal(err)
			}
			return other
		}, "2 hard links"},
		"a mode": {func(t *testing.T, archive string) string {
			if err := os.Chmod(archive, 0o600); err != nil {
				t.Fatal(err)
			}
			return archive
		}, "its mode is"},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				store := filepath.Join(importertest.Scratch(t), "store")
				archive := importertest.Image(t, store, "module-console.tar", "packed")
				want := importertest.MustContent(t, archive)
				if chunked {
					archive = layouttest.Cut(t, archive, 3000)[1]
				}
				other := tc.change(t, archive)
				report := importertest.Kept(t, store, archive)
				if len(report.Copied) != 1 || report.Copied[0].File != archive || !strings.Contains(report.Copied[0].Reason, tc.reason) {
					t.Errorf("copied: %+v", report.Copied)
				}
				if _, err := os.Stat(archive); err != nil {
					t.Errorf("stat of the copied archive at its old path: got error %v, want none", err)
				}
				inside := filepath.Join(store, filepath.Base(archive))
				wantOwn(t, inside)
				importertest.Flip(t, other, 1000)
				importertest.Same(t, "the store after a write through the other name", importertest.MustContent(t, store), want)
			})
		}
	}
}

// wantOwn fails the test unless a file of a store has one hard link and the mode of files that the
// store creates.
func wantOwn(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(t.TempDir(), "probe")
	f, err := os.OpenFile(probe, os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	made, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != made.Mode() {
		t.Errorf("%s: mode %v, want %v", file, info.Mode(), made.Mode())
	}
	if n := importer.Names(info); n != 1 {
		t.Errorf("%s has %d hard links, want 1", file, n)
	}
}

// An archive with a single hard link is moved, and gets the mode of the store's files.
func TestKeepPackedMovesArchives(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	archive := importertest.Image(t, store, "module-console.tar", "packed")
	if err := os.Chmod(archive, 0o777); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(archive)
	if err != nil {
		t.Fatal(err)
	}
	if report := importertest.Kept(t, store, archive); len(report.Copied) > 0 {
		t.Errorf("copied: %+v", report.Copied)
	}
	inside := filepath.Join(store, "module-console.tar")
	after, err := os.Stat(inside)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the archive in the store is a different file than before the import, want the same; error %v", err)
	}
	wantOwn(t, inside)
	if _, err := os.Stat(archive); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of the archive's old name: got error %v, want ErrNotExist", err)
	}
}

// The blobs of a tree are always copied, so no file of the store is a hard link to a file of the
// tree.
func TestImportCopiesBlobsOfATree(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	l.Tag(l.Image(layouttest.Image{LayerSizes: []int64{9000}}), "v1")
	l.Write()
	for name, size := range importertest.Files(t, tree.Dir()) {
		if size > 0 {
			if err := os.Chmod(tree.Dir()+name, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	store := filepath.Join(filepath.Dir(tree.Dir()), "store")
	importertest.Imported(t, store, tree.Dir())
	for _, file := range blobFiles(t, store) {
		wantOwn(t, file)
	}
}

// A file must be copied if another user or process could change it, or if other users may not read
// it. Write permissions do not matter.
func TestWhyFilesAreCopied(t *testing.T) {
	fine := importer.InodeFacts(false, 1, 0o644, 0o644, false)
	if why := importer.WhyCopy(fine); why != "" {
		t.Errorf("WhyCopy of a file with one hard link: got %q, want no reason to copy it", why)
	}
	for name, mode := range map[string]fs.FileMode{"a mode with more permissions": 0o777, "a mode without write permissions": 0o444} {
		if why := importer.WhyCopy(importer.InodeFacts(false, 1, mode, 0o644, false)); why != "" {
			t.Errorf("WhyCopy of %s: got %q, want no reason to copy the file", name, why)
		}
	}
	seen := map[string]bool{"": true}
	for _, f := range []importer.Facts{
		importer.InodeFacts(true, 1, 0o644, 0o644, false),
		importer.InodeFacts(false, 2, 0o644, 0o644, false),
		importer.InodeFacts(false, 1, 0o640, 0o644, false), // other users may not read this file
		importer.InodeFacts(false, 1, 0o644, 0o644, true),
	} {
		why := importer.WhyCopy(f)
		if seen[why] {
			t.Errorf("%+v: %q", f, why)
		}
		seen[why] = true
	}
}

// An import is killed while it removes the old names of chunks. The remaining names are hard links
// of the store's files. The next import removes them.
func TestKeepPackedCompletesAMove(t *testing.T) {
	for _, beside := range []bool{false, true} {
		t.Run(fmt.Sprint("with another archive in the bundle: ", beside), func(t *testing.T) {
			store := filepath.Join(importertest.Scratch(t), "store")
			importertest.Kept(t, store, importertest.Image(t, store, "module-console.tar", "before"))
			archive := importertest.Image(t, store, "module-console.tar", "packed")
			dir := filepath.Dir(archive)
			layouttest.Cut(t, archive, 3000)
			importertest.Kept(t, store, dir)
			want := importertest.MustContent(t, store)
			for _, chunk := range []string{"0001", "0002"} { // an import was killed before it removed these two names
				inside := filepath.Join(store, "module-console.2.tar."+chunk+".chunk")
				if err := os.Link(inside, filepath.Join(dir, "module-console.tar."+chunk+".chunk")); err != nil {
					t.Fatal(err)
				}
			}
			if beside {
				want = want.Over(importertest.MustContent(t, importertest.ArchiveOf(t, filepath.Join(dir, "a.tar"), "app:v1=other")))
			}
			if report := importertest.Kept(t, store, dir); report.Changed != beside {
				t.Errorf("report %+v", report)
			}
			importertest.Same(t, "the store", importertest.MustContent(t, store), want)
			if left := archives(t, dir); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			wantOwn(t, filepath.Join(store, "module-console.2.tar.0001.chunk"))
		})
	}
}
