package drop_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// failReads makes this process's reads of a file fail with EIO, as on a failing disk, until stop is called.
// calls lists the system calls that fail: pread64 reads the headers of archives, and read reads the entries.
func failReads(t *testing.T, file, calls string) (stop func()) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("this test needs strace: %v (apt-get install strace)", err)
	}
	cmd := exec.CommandContext(t.Context(), strace, "-f", "-e", "signal=none", "-e", "trace="+calls, "-P", file,
		"-e", "inject="+calls+":error=EIO", "-o", os.DevNull, "-p", fmt.Sprint(os.Getpid()))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for said := bufio.NewScanner(stderr); ; {
		if !said.Scan() {
			t.Fatalf("strace does not attach: %v (run this test as root, or with ptrace allowed)", cmd.Wait())
		}
		if strings.Contains(said.Text(), "attached") {
			break
		}
	}
	go io.Copy(io.Discard, stderr)
	return func() {
		_ = cmd.Process.Signal(os.Interrupt) // tells strace to detach from this process, and to exit
		_ = cmd.Wait()
	}
}

// If a file of a bundle cannot be read, its import fails with an error that names the file, and the
// store stays the same. A dropped bundle does not count as damaged. It waits, and is published once
// the disk can be read again.
func TestImportRefusesUnreadableFile(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/one")
	image := l.Image(layouttest.Image{Name: "one", LayerSizes: []int64{9000, 70_000, 30_000}})
	l.Tag(image, "v1")
	l.Write()
	archive := filepath.Join(t.TempDir(), "module-one.tar")
	tree.Archive(archive, layouttest.Archive{})
	layer := ""
	for name, size := range importertest.Files(t, tree.Dir()) {
		if size == 30_000 {
			layer = name
		}
	}
	for name, c := range map[string]struct {
		bundle, file, calls string
		cut                 int64
	}{
		"layer":              {"tree", layer, "read", 0},
		"manifest":           {"tree", "/modules/one/blobs/sha256/" + image.Digest.Encoded(), "read", 0},
		"index":              {"tree", "/modules/one/index.json", "read", 0},
		"archive":            {"module-one.tar", "", "read", 0},
		"headers":            {"module-one.tar", "", "pread64", 0},
		"chunk":              {"module-one.tar", ".0002.chunk", "read", 25_000},
		"headers in a chunk": {"module-one.tar", ".0002.chunk", "pread64", 25_000},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDropping(t)
			importertest.Imported(t, d.store, importertest.OldBundle(t))
			d.scan(0)
			bundle := filepath.Join(d.dir, c.bundle)
			if c.bundle == "tree" {
				if err := os.CopyFS(bundle, os.DirFS(tree.Dir())); err != nil {
					t.Fatal(err)
				}
			} else if d.put(archive, c.bundle); c.cut > 0 {
				layouttest.Split(t, bundle, c.cut)
			}
			before, want := importertest.Files(t, d.store), importertest.MustContent(t, d.store).Over(importertest.MustContent(t, tree.Dir()))
			d.scan(0)

			stop := failReads(t, bundle+c.file, c.calls)
			_, err := d.importer.Import(t.Context(), bundle)
			pause := d.scan(time.Minute)
			stop()
			var incomplete *importer.IncompleteError
			if !errors.As(err, &incomplete) || !strings.Contains(err.Error(), bundle+c.file) || !strings.Contains(err.Error(), "input/output error") {
				t.Errorf("import with an unreadable file: got error %v, want an input/output error that names %s", err, bundle+c.file)
			}
			d.wantStatus(c.bundle, "waiting", "input/output error")
			if pause == 0 || d.published > 0 || d.has("failed") || d.has("done") {
				t.Errorf("scan with an unreadable file: next scan after %s, published %d times; want a retry, and the bundle neither published nor moved", pause, d.published)
			}
			if after := importertest.Files(t, d.store); !maps.Equal(after, before) {
				t.Errorf("files of the store after the failed import: got %v, want %v", after, before)
			}
			d.scan(pause)
			d.wantStatus(c.bundle, "published", "")
			importertest.Same(t, "the store", importertest.MustContent(t, d.store), want)
		})
	}
}
