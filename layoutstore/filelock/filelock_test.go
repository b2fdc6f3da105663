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
		t.Skip("this system does not support flock")
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
			t.Errorf("%s: a second lock through the same open file failed: %v", name, err)
		}
		if err := filelock.TryLock(second); !errors.Is(err, filelock.ErrLocked) {
			t.Errorf("%s: a lock through a second open file: got %v, want ErrLocked", name, err)
		}
		if err := filelock.Release(first); err != nil {
			t.Fatal(err)
		}
		if err := filelock.TryLock(second); err != nil {
			t.Errorf("%s: a lock after the locked file was released failed: %v", name, err)
		}
		if err := filelock.TryLock(first); err == nil || errors.Is(err, filelock.ErrLocked) {
			t.Errorf("%s: a lock of a released file: got %v, want an error other than ErrLocked", name, err)
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
