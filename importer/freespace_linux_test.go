package importer_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// mountSmall mounts a tmpfs with the given options, and returns a path in it.
func mountSmall(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mounting a small file system: %v (run this test as root, in a container with CAP_SYS_ADMIN)", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "store")
}

func large(t *testing.T) string {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/large")
	l.Tag(l.Image(layouttest.Image{Name: "large", LayerSizes: []int64{3 << 20}}), "v1")
	l.Write()
	return tree.Dir()
}

// An import fails before it writes the first byte if the bundle does not fit into the free space.
func TestTooLittleFreeSpace(t *testing.T) {
	for what, options := range map[string]string{"bytes": "size=4m", "files": "size=64m,nr_inodes=60"} {
		t.Run(what, func(t *testing.T) {
			store := mountSmall(t, options)
			importertest.Imported(t, store, importertest.OldBundle(t))
			before := importertest.Files(t, store)
			i := importertest.New(t, store)
			written := false
			i.Before(func(op, _ string) error { written = written || op == "write"; return nil })
			bundle := large(t)
			if what == "files" {
				bundle = importertest.NewBundle(t)
			}
			_, err := i.Import(t.Context(), bundle)
			var room *importer.NoSpaceError
			if !errors.As(err, &room) || room.What != what || room.Needed <= room.Free || written {
				t.Errorf("the import wrote to the store: %v, want false; got error %v, want *NoSpaceError", written, err)
			}
			if after := importertest.Files(t, store); !maps.Equal(after, before) {
				t.Errorf("files of the store after the failed import: got %v, want no change", after)
			}
		})
	}
}

// If the disk fills up during an import, the import fails and the store does not change. Once there
// is free space, the same import succeeds.
func TestDiskFillsUp(t *testing.T) {
	store, bundle := mountSmall(t, "size=8m"), large(t)
	importertest.Imported(t, store, importertest.OldBundle(t))
	before, want := importertest.Files(t, store), importertest.MustContent(t, store).Over(importertest.MustContent(t, bundle))
	filler := filepath.Join(filepath.Dir(store), "filler")
	i, writes := importertest.New(t, store), 0
	i.Before(func(op, _ string) error {
		if op != "write" {
			return nil
		}
		if writes++; writes == 3 {
			f, err := os.Create(filler)
			if err != nil {
				return nil
			}
			defer f.Close()
			for err == nil {
				_, err = f.Write(make([]byte, 64<<10))
			}
		}
		return nil
	})
	if _, err := i.Import(t.Context(), bundle); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%v", err)
	}
	if after := importertest.Files(t, store); !maps.Equal(after, before) {
		t.Errorf("files of the store after the failed import: got %v, want no change", after)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	importertest.Imported(t, store, bundle)
	importertest.Same(t, "the store", importertest.MustContent(t, store), want)
}

func TestReadOnlyStore(t *testing.T) {
	store := mountSmall(t, "size=8m")
	importertest.Imported(t, store, importertest.OldBundle(t))
	before := importertest.MustContent(t, store)
	if err := syscall.Mount("", filepath.Dir(store), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := importertest.New(t, store).Import(t.Context(), importertest.NewBundle(t)); !errors.Is(err, syscall.EROFS) {
		t.Errorf("%v", err)
	}
	if err := importertest.New(t, store).Recover(t.Context()); !errors.Is(err, syscall.EROFS) {
		t.Errorf("%v", err)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), before)
}
