package filelock_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/filelock"
)

func TestTryLock(t *testing.T) {
	if !filelock.Available {
		t.Skip("this system has no such locks")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "lock")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, file} {
		first, second := open(t, name), open(t, name)
		if err := filelock.TryLock(first); err != nil {
			t.Fatal(err)
		}
		if err := filelock.TryLock(first); err != nil {
			t.Errorf("%s: locked again through the same open file: %v", name, err)
		}
		if err := filelock.TryLock(second); !errors.Is(err, filelock.ErrLocked) {
			t.Errorf("%s: locked twice: %v", name, err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		if err := filelock.TryLock(second); err != nil {
			t.Errorf("%s: after the locked file was closed: %v", name, err)
		}
		if err := filelock.TryLock(first); err == nil || errors.Is(err, filelock.ErrLocked) {
			t.Errorf("%s: a closed file: %v", name, err)
		}
	}
}

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
