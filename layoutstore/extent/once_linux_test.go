package extent

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

type onDisk string

func (f onDisk) Open(context.Context) (*os.File, error) { return os.Open(string(f)) }
func (f onDisk) String() string                         { return string(f) }

// cached returns how many pages of a part of a file are in the page cache.
func cached(t *testing.T, name string, off, n int64) int {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var have unix.Cachestat_t
	if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &have, 0); err != nil {
		t.Skipf("the kernel cannot report which pages are cached: %v", err)
	}
	return int(have.Cache)
}

// coldFile writes a file, and removes it from the page cache. It skips the test if the file system
// does not allow that.
func coldFile(t *testing.T, data []byte) string {
	t.Helper()
	// /var/tmp is on a disk (Filesystem Hierarchy Standard 3.0, 5.15). The temporary directory of
	// the tests may be in memory.
	dir, err := os.MkdirTemp("/var/tmp", "layoutproxy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "file")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if n := cached(t, name, 0, int64(len(data))); n > 0 {
		t.Skipf("%d pages stay in memory, because the file system is in memory or keeps them", n)
	}
	return name
}

// OpenOnce leaves pages in the page cache that were there before, and drops all others that it has read.
func TestOpenOnceKeepsPageCache(t *testing.T) {
	const size = 12 << 20
	data := make([]byte, size)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(data) // this never fails
	name := coldFile(t, data)
	// The fourth and the fifth mebibyte are in the page cache, as if a server used them.
	const from, n = 3 << 20, 2 << 20
	used, err := List{{File: onDisk(name), Off: from, Len: n}}.ReadAll(t.Context())
	if err != nil || !bytes.Equal(used, data[from:from+n]) {
		t.Fatal(err)
	}
	before := cached(t, name, from, n)
	all := cached(t, name, 0, size)

	read, err := List{{File: onDisk(name), Len: 5 << 20}, {File: onDisk(name), Off: 5 << 20, Len: size - 5<<20}}.OpenOnce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(read)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("OpenOnce: read %d of %d bytes with the error %v, want all bytes and no error", len(got), size, err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	// If memory is short, the system itself may drop some of these pages.
	if n := cached(t, name, from, n); n > before || n < before-before/8 {
		t.Errorf("after OpenOnce, %d of the pages that a server uses are cached, want %d to %d", n, before-before/8, before)
	}
	// The system reads ahead at the border between two extents. These pages may stay.
	if n := cached(t, name, 0, size); n > all+2*(1<<20)/os.Getpagesize() {
		t.Errorf("after OpenOnce, %d pages of the file are cached, want little more than the %d from before", n, all)
	}
}
