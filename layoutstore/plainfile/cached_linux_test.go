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

// OpenCached opens a file that has just been read, because it is cached. It refuses links and
// everything but regular files. If it waited for a named pipe, the test would never end.
func TestOpenCachedFile(t *testing.T) {
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
			t.Skip("this kernel or a sandbox does not allow opening files only from memory")
		}
		if err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		data, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil || string(data) != "content" || info.Size() != 7 {
			t.Errorf("%s: got the content %q, the size %d and the error %v; want content, 7 and none", way, data, info.Size(), err)
		}
		for _, name := range []string{"pipe", "link", "directory", "none"} {
			if f, _, err := cached(name); err == nil {
				f.Close()
				t.Errorf("%s(%s): got no error, want one", way, name)
			}
		}
	}
	for _, name := range []string{"../outside", "/etc/passwd", ""} {
		if f, _, err := plainfile.OpenCached(open, name); err == nil {
			f.Close()
			t.Errorf("OpenCached(%q): got no error, want one", name)
		}
	}
}

// On a file system that is not local, opening a file may take long even if the file is cached.
func TestProcfsIsNotLocal(t *testing.T) {
	proc, err := os.Open("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	if plainfile.IsLocal(proc) {
		t.Error("IsLocal(directory in procfs) = true, want false")
	}
}
