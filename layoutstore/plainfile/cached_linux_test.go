package plainfile_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// A file that the system has just read opens at once, if it is a regular file with exactly that
// name. If an open waited, the test would never end.
func TestOpenCached(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "dir")
	for _, name := range []string{"outside", "dir/regular"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(base, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(base, name), []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600), os.Symlink("regular", filepath.Join(dir, "link")), os.Mkdir(filepath.Join(dir, "directory"), 0o700)); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	for way, cached := range map[string]func(name string) (*os.File, os.FileInfo, error){
		"OpenCached": func(name string) (*os.File, os.FileInfo, error) { return plainfile.OpenCached(open, name) },
		"OpenCachedNoFollow": func(name string) (*os.File, os.FileInfo, error) {
			return plainfile.OpenCachedNoFollow(filepath.Join(dir, name))
		},
	} {
		f, info, err := cached("regular")
		if errors.Is(err, plainfile.ErrWouldWait) {
			t.Skip("this kernel, or a sandbox, does not support opening files only from memory")
		}
		if err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		data, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil || string(data) != "content" || info.Size() != 7 {
			t.Errorf("%s: %q, %d bytes, %v", way, data, info.Size(), err)
		}
		for _, name := range []string{"pipe", "link", "directory", "none"} {
			if f, _, err := cached(name); err == nil {
				f.Close()
				t.Errorf("%s opens a %s", way, name)
			}
		}
	}
	for _, name := range []string{"../outside", "/etc/passwd", ""} {
		if f, _, err := plainfile.OpenCached(open, name); err == nil {
			f.Close()
			t.Errorf("OpenCached opens %q", name)
		}
	}
}

// On other file systems, an open may take long even if the system has the file in memory.
func TestIsLocal(t *testing.T) {
	proc, err := os.Open("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	if plainfile.IsLocal(proc) {
		t.Error("procfs counts as local")
	}
}
