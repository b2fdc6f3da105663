package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// syncEach is for systems without syncfs(2). It syncs every file and directory, and skips links.
func TestSyncFileByFile(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755),
		os.WriteFile(filepath.Join(dir, "a", "file"), []byte("x"), 0o644),
		os.Symlink("nowhere", filepath.Join(dir, "link")),
		syncEach(dir),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := syncEach(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("syncEach of a missing directory: got %v, want ErrNotExist", err)
	}
}
