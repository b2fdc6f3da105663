package layoutstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// cachedForms returns a tree with one layer as a directory, as an archive and as a chunk set.
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

// stalledVolume is a volume whose disk does not answer while stalled is true.
type stalledVolume struct {
	volume.Cached
	stalled bool
}

var errStalled = errors.New("the disk does not answer")

func (v *stalledVolume) Locate(ctx context.Context, layout string, d digest.Digest) (extent.List, error) {
	if v.stalled {
		return nil, errStalled
	}
	return v.Cached.Locate(ctx, layout, d)
}

// openInMemory opens a tree, reads its manifests and the blob d, and then stalls the disk.
func openInMemory(t *testing.T, dir string, d digest.Digest) (*Repository, *stalledVolume) {
	t.Helper()
	tree, err := Open(t.Context(), Options{Sources: []string{dir}, Roots: []string{""}})
	layouttest.Try(t, err)
	repo, err := tree.Snapshot().Repository("app")
	layouttest.Try(t, err)
	vol := &stalledVolume{Cached: repo.layouts[0].vol.(volume.Cached)}
	repo.layouts[0].vol = vol
	first, err := repo.OpenBlob(t.Context(), d, func(size int64) (int64, int64) { return 0, size })
	layouttest.Try(t, err)
	first.Close()
	vol.stalled = true
	return repo, vol
}

// A blob in the page cache is opened without a wait, at any offset. If the file has changed, the
// blob is not opened.
func TestCachedBlobsOpenWithoutWaiting(t *testing.T) {
	layer := bytes.Repeat([]byte("layer"), 20_000)
	d := digest.FromBytes(layer)
	for name, dir := range cachedForms(t, layer) {
		t.Run(name, func(t *testing.T) {
			if top, err := os.Open(dir); err != nil || !plainfile.IsLocal(top) {
				t.Skipf("%v: files cannot be opened without a wait here: set TMPDIR to a directory on ext4, XFS, Btrfs or tmpfs", err)
			}
			probe := filepath.Join(dir, "probe")
			layouttest.WriteFile(t, probe, "")
			if f, _, err := plainfile.OpenCachedNoFollow(probe); err != nil {
				t.Skip("the kernel or a sandbox cannot open files only if they are cached:", err)
			} else {
				f.Close()
			}
			layouttest.Try(t, os.Remove(probe))
			repo, vol := openInMemory(t, dir, d)
			for _, off := range []int64{0, 1, int64(len(layer) / 2), int64(len(layer) - 1)} {
				blob, err := repo.OpenBlob(t.Context(), d, func(size int64) (int64, int64) { return off, size - off })
				if err != nil {
					t.Fatal(err)
				}
				if _, err := blob.Seek(off, io.SeekStart); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(blob)
				blob.Close()
				if err != nil || !bytes.Equal(got, layer[off:]) {
					t.Errorf("content from offset %d: got %d bytes and error %v, want the rest of the layer", off, len(got), err)
				}
			}
			quarantineInMemory(t, repo, vol, d)
			damageAll(t, dir, d)
			vol.stalled = false
			if blob, err := repo.OpenBlob(t.Context(), d, func(size int64) (int64, int64) { return 0, size }); err == nil {
				blob.Close()
				t.Error("OpenBlob after the file has grown: got no error, want one")
			}
		})
	}
}

// quarantineInMemory checks that a quarantined blob in the page cache is refused, but other blobs
// are served. After Release, the blob is served again.
func quarantineInMemory(t *testing.T, repo *Repository, vol *stalledVolume, d digest.Digest) {
	t.Helper()
	layout := repo.Layouts()[0]
	manifest, err := repo.TagDigest("v1")
	layouttest.Try(t, err)
	for _, c := range []struct {
		quarantined digest.Digest
		refused     bool
	}{{manifest, false}, {d, true}, {"", false}} {
		vol.stalled = false
		stamp := ""
		if c.quarantined != "" {
			stamp, err = layout.Stamp(t.Context(), c.quarantined)
			layouttest.Try(t, err)
			_, err = repo.Quarantine(t.Context(), layout, c.quarantined, stamp, "rotten")
			layouttest.Try(t, err)
		}
		vol.stalled = true
		blob, err := repo.OpenBlob(t.Context(), d, func(size int64) (int64, int64) { return 0, size })
		if err == nil {
			blob.Close()
		}
		if (err != nil) != c.refused {
			t.Errorf("OpenBlob with %q in quarantine: got error %v; want an error: %v", c.quarantined, err, c.refused)
		}
		repo.Release(layout, c.quarantined, stamp)
	}
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
