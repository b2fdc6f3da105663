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
			t.Errorf("%s: second TryLock of the same open file: got %v, want no error", name, err)
		}
		if err := filelock.TryLock(second); !errors.Is(err, filelock.ErrLocked) {
			t.Errorf("%s: TryLock of another open file, before Release: got %v, want ErrLocked", name, err)
		}
		if err := filelock.Release(first); err != nil {
			t.Fatal(err)
		}
		if err := filelock.TryLock(second); err != nil {
			t.Errorf("%s: TryLock of another open file, after Release: got %v, want no error", name, err)
		}
		if err := filelock.TryLock(first); err == nil || errors.Is(err, filelock.ErrLocked) {
			t.Errorf("%s: TryLock of the released open file: got %v, want an error other than ErrLocked", name, err)
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
