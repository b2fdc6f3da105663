package layoutstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// cachedForms returns the forms of a tree with one layer.
func cachedForms(t *testing.T, layer []byte) map[string]string {
	t.Helper()
	dir, tar, chunks := t.TempDir(), t.TempDir(), t.TempDir()
	tree := layouttest.New(t, dir)
	l := tree.Layout("app")
	l.Tag(l.Image(layouttest.Image{Layers: [][]byte{layer}}), "v1")
	l.Write()
	tree.Archive(filepath.Join(tar, "app.tar"), layouttest.Archive{})
	tree.Archive(filepath.Join(chunks, "app.tar"), layouttest.Archive{})
	layouttest.Split(t, filepath.Join(chunks, "app.tar"), int64(len(layer)/3))
	return map[string]string{"tree": dir, "archive": tar, "chunks": chunks}
}

// A blob in the system's memory is opened without any time to wait, wherever reading
// begins. Another blob is not, and every change of its file is noticed.
func TestBlobsInMemoryNeedNoPatience(t *testing.T) {
	layer := bytes.Repeat([]byte("layer"), 20_000)
	d := digest.FromBytes(layer)
	for name, dir := range cachedForms(t, layer) {
		t.Run(name, func(t *testing.T) {
			if top, err := os.Open(dir); err != nil || !plainfile.IsLocal(top) {
				t.Skipf("%v: the file system of temporary files cannot open a file without a wait: set TMPDIR to one on ext4, XFS, Btrfs or tmpfs", err)
			}
			tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Roots: []string{""}})
			if err != nil {
				t.Fatal(err)
			}
			repo, err := tree.Snapshot().Repository("app")
			if err != nil {
				t.Fatal(err)
			}
			gone, leave := context.WithCancel(t.Context())
			leave()
			if _, err := repo.OpenBlob(gone, d, fromStart); !errors.Is(err, context.Canceled) {
				t.Fatalf("before the manifests are read: %v", err)
			}
			first, err := repo.OpenBlob(t.Context(), d, fromStart)
			if err != nil {
				t.Fatal(err)
			}
			first.Close()
			for _, off := range []int64{0, 1, int64(len(layer) / 2), int64(len(layer) - 1)} {
				blob, err := repo.OpenBlob(gone, d, func(size int64) (int64, int64) { return off, size - off })
				if errors.Is(err, context.Canceled) {
					t.Skip("this kernel, or what confines the test, does not open what is in memory alone")
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, err := blob.Seek(off, io.SeekStart); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(blob)
				blob.Close()
				if err != nil || !bytes.Equal(got, layer[off:]) {
					t.Errorf("from %d on: %d bytes, %v", off, len(got), err)
				}
			}
			quarantineInMemory(t, tree, repo, gone, d)
			damageAll(t, dir, d)
			if blob, err := repo.OpenBlob(t.Context(), d, fromStart); err == nil {
				blob.Close()
				t.Error("a file that is longer by now is opened")
			}
		})
	}
}

// quarantineInMemory checks that a quarantined blob is refused although it is in memory, that others
// are not, and that it is served again once it has been verified.
func quarantineInMemory(t *testing.T, tree *layoutstore.Tree, repo *layoutstore.Repository, gone context.Context, d digest.Digest) {
	t.Helper()
	layout := repo.Layouts()[0]
	manifest, err := repo.TagDigest("v1")
	layouttest.Try(t, err)
	for _, c := range []struct {
		quarantined digest.Digest
		refused     bool
	}{{manifest, false}, {d, true}} {
		stamp, err := layout.Stamp(t.Context(), c.quarantined)
		layouttest.Try(t, err)
		_, err = repo.Quarantine(t.Context(), layout, c.quarantined, stamp, "rotten")
		layouttest.Try(t, err)
		blob, err := repo.OpenBlob(gone, d, fromStart)
		if err == nil {
			blob.Close()
		}
		if (err != nil) != c.refused {
			t.Errorf("with %s in quarantine: %v", c.quarantined, err)
		}
		repo.Release(layout, c.quarantined, stamp)
	}
	blob, err := repo.OpenBlob(gone, d, fromStart)
	layouttest.Try(t, err)
	blob.Close()
}

// damageAll appends a byte to each file that may contain d.
func damageAll(t *testing.T, dir string, d digest.Digest) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "app.tar*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		files = []string{filepath.Join(dir, "app", "blobs", "sha256", d.Encoded())}
	}
	for _, file := range files {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("x")
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
