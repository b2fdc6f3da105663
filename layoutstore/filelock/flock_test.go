//go:build unix && !solaris && !illumos && !aix

package filelock_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/layoutproxy/layoutproxy/layoutstore/filelock"
)

// Between fork and exec, a child process has a copy of each descriptor of its parent.
func TestReleaseUnlocksForCopiesOfTheDescriptor(t *testing.T) {
	dir := t.TempDir()
	first, second := open(t, dir), open(t, dir)
	child, err := unix.Dup(int(first.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	if err := filelock.TryLock(first); err != nil {
		t.Fatal(err)
	}
	if err := filelock.TryLock(second); !errors.Is(err, filelock.ErrLocked) {
		t.Fatalf("TryLock before Release: got %v, want ErrLocked", err)
	}
	if err := filelock.Release(first); err != nil {
		t.Fatal(err)
	}
	if err := filelock.TryLock(second); err != nil {
		t.Errorf("TryLock after Release: got %v, want no error", err)
	}
}
