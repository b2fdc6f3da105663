package prune_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/importertest"
)

// fill writes to a file until not even one more byte fits on the disk.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	importertest.Must(t, err)
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// A prune works on a disk without a free byte or inode. It uses the space that the import has set aside.
// Without this reserve, it removes files before it replaces the indexes. LAYOUTPROXY_TEST_ALL=1 tries all
// cases.
func TestPruneOnFullDisk(t *testing.T) {
	for what, c := range map[string]struct {
		options   string
		noReserve bool
		grace     bool
	}{
		"byte limit, with a reserve": {"size=4m", false, false}, "byte limit, without a reserve": {"size=4m", true, false}, "byte limit, with a grace period": {"size=4m", false, true},
		"file limit, with a reserve": {"size=64m,nr_inodes=300", false, false}, "file limit, without a reserve": {"size=64m,nr_inodes=300", true, false},
	} {
		if c.noReserve == (what[0] == 'b') && rounds(0, 1) == 0 {
			continue
		}
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, c.options); err != nil {
				t.Fatalf("mounting a small file system: %v (run this test as root, in a container with CAP_SYS_ADMIN)", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			store, from := filepath.Join(dir, "store"), newStore(t, 2)
			importertest.Must(t, os.CopyFS(store, os.DirFS(from)))
			if c.noReserve {
				importertest.Must(t, os.Remove(filepath.Join(store, ".layoutproxy", "reserve")))
			}
			if what[0] == 'b' {
				fill(t, filepath.Join(dir, "filler"))
			}
			for n := 0; what[0] == 'f'; n++ {
				f, err := os.Create(filepath.Join(dir, "filler"+string(rune(1000+n))))
				if err != nil {
					break
				}
				f.Close()
			}
			if err := os.WriteFile(filepath.Join(dir, "more"), []byte("x"), 0o644); err == nil {
				t.Fatal("writing one more byte to the full disk succeeded, want an error")
			}
			before := used(t, store)
			w := atOnce
			if c.grace {
				w = later
			}
			importertest.Must(t, w.prune(t.Context(), store, nil))
			if freed := before - used(t, store); freed < 100<<10 {
				t.Errorf("the prune freed %d bytes, want at least 100 KiB", freed)
			}
			want := importertest.Copied(t, from)
			importertest.Must(t, w.prune(t.Context(), want, nil))
			importertest.Same(t, "the store", importertest.MustContent(t, store), importertest.MustContent(t, want))
			if left := importertest.Unfinished(t, store); len(left) > 0 {
				t.Errorf("unfinished files after the prune: %v, want none", left)
			}
		})
	}
}
