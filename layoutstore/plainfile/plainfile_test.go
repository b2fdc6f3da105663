//go:build unix

package plainfile_test

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// Each function refuses everything but regular files. If one of them waited for a named pipe, the
// test would never end.
func TestOpenOnlyRegularFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("regular"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	layouttest.Try(t, layouttest.MakePipe(at("pipe")))
	if err := os.Mkdir(at("directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("pipe", at("link")); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	root, err := plainfile.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()

	ways := map[string]func(name string) (*os.File, error){
		"Open":         func(name string) (*os.File, error) { return plainfile.Open(at(name)) },
		"OpenIn":       func(name string) (*os.File, error) { return plainfile.OpenIn(root, name) },
		"OpenInDir":    func(name string) (*os.File, error) { return plainfile.OpenInDir(dir, name) },
		"OpenNoFollow": func(name string) (*os.File, error) { return plainfile.OpenNoFollow(at(name)) },
	}
	for way, open := range ways {
		f, err := open("regular")
		if err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		data, err := io.ReadAll(f)
		f.Close()
		if err != nil || string(data) != "content" {
			t.Errorf("%s: got the content %q and the error %v, want content and none", way, data, err)
		}
		for _, name := range []string{"pipe", "link", "directory", "socket"} {
			if f, err := open(name); err == nil {
				f.Close()
				t.Errorf("%s(%s): got no error, want one", way, name)
			} else if (name == "pipe" || name == "directory") && !errors.Is(err, plainfile.ErrNotRegular) {
				t.Errorf("%s(%s): got error %v, want ErrNotRegular", way, name, err)
			}
		}
		if _, err := open("none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s(missing file): got error %v, want ErrNotExist", way, err)
		}
	}
	for _, name := range []string{"pipe", "link", "regular"} {
		if _, err := plainfile.OpenRoot(at(name)); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("OpenRoot(%s): got error %v, want ENOTDIR", name, err)
		}
	}
}

func TestReadFileUpToLimit(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := plainfile.Read(name, 5); err != nil || string(data) != "12345" {
		t.Errorf("Read of a file as long as the limit: got %q and the error %v, want 12345 and none", data, err)
	}
	if _, err := plainfile.Read(name, 4); !errors.Is(err, plainfile.ErrTooLong) || !strings.Contains(err.Error(), name) {
		t.Errorf("Read of a file one byte too long: got %v, want ErrTooLong", err)
	}
}
