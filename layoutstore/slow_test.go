package layoutstore_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// slowDisk blocks the opening of one file until the test releases it.
type slowDisk struct {
	name    atomic.Value // name of the file, a string
	opening chan struct{}
	release chan struct{}
}

func newSlowDisk(name string) *slowDisk {
	d := &slowDisk{opening: make(chan struct{}, 100), release: make(chan struct{})}
	d.name.Store(name)
	return d
}

func (d *slowDisk) opened(info fs.FileInfo) {
	if info.Name() == d.name.Load() {
		d.opening <- struct{}{}
		<-d.release
	}
}

// slowTree returns a tree with a repository that contains the images fast and slow. Either the
// manifest of slow or the layer of fast is on a disk that hangs.
func slowTree(t *testing.T, patience time.Duration, layer bool) (repo *layoutstore.Repository, disk *slowDisk, s *layoutstore.Snapshot, fast, slow, fastLayer digest.Digest) {
	t.Helper()
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("app")
	a := l.Image(layouttest.Image{Layers: [][]byte{[]byte("fast")}})
	b := l.Image(layouttest.Image{Layers: [][]byte{[]byte("slow")}})
	l.Tag(a, "fast")
	l.Tag(b, "slow")
	l.Write()
	disk = newSlowDisk(b.Digest.Encoded())
	fastLayer = digest.FromString("fast")
	if layer {
		disk.name.Store(fastLayer.Encoded())
	}
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Roots: []string{""}, Patience: patience, Opened: disk.opened})
	if err != nil {
		t.Fatal(err)
	}
	s = tree.Snapshot()
	if repo, err = s.Repository("app"); err != nil {
		t.Fatal(err)
	}
	return repo, disk, s, a.Digest, b.Digest, fastLayer
}

// soon is the patience of the tree. The fake clock of the test advances only while all goroutines
// wait, so a slow machine causes no timeouts.
const soon = 20 * time.Millisecond

func fromStart(size int64) (off, n int64) { return 0, size }

// While the manifest of one image cannot be read, the other image is served completely.
func TestSlowManifestDoesNotDelayOtherImages(t *testing.T) {
	synctest.Test(t, slowManifestDoesNotDelayOtherImages)
}

func slowManifestDoesNotDelayOtherImages(t *testing.T) {
	repo, disk, _, fast, slow, layer := slowTree(t, 10*time.Second, false)
	defer close(disk.release)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() { _, err := repo.Manifest(ctx, slow); gone <- err }()
	<-disk.opening
	if _, err := repo.Manifest(t.Context(), fast); err != nil {
		t.Errorf("Manifest(other image): got error %v, want none", err)
	}
	blob, err := repo.OpenBlob(t.Context(), layer, fromStart)
	if err != nil {
		t.Fatalf("OpenBlob(layer of the other image): got error %v, want none", err)
	}
	blob.Close()
	// After its context has ended, a caller does not wait for a read that hangs.
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("Manifest after its context ended: got error %v, want context.Canceled", err)
	}
}

// Requests that need all manifests get ErrSlow. A check ends when its context ends.
func TestSlowManifestTimesOut(t *testing.T) {
	synctest.Test(t, slowManifestTimesOut)
}

func slowManifestTimesOut(t *testing.T) {
	repo, disk, s, _, slow, _ := slowTree(t, soon, false)
	released := false
	defer func() {
		if !released {
			close(disk.release)
		}
	}()
	for name, ask := range map[string]func(context.Context) error{
		"manifest":  func(ctx context.Context) error { _, err := repo.Manifest(ctx, slow); return err },
		"referrers": func(ctx context.Context) error { _, err := repo.Referrers(ctx, slow); return err },
		"blob": func(ctx context.Context) error {
			_, err := repo.Blob(ctx, digest.FromString("a blob that no manifest has named yet"))
			return err
		},
	} {
		for range 3 { // try several times, also while another request is waiting
			if err := ask(t.Context()); !errors.Is(err, layoutstore.ErrSlow) {
				t.Errorf("request for the %s: got the error %v, want ErrSlow", name, err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := s.Check(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Check: got the error %v, want context.DeadlineExceeded", err)
	}
	// One read of the manifest and one of the repository hang, not one per request.
	if n := len(disk.opening); n > 2 {
		t.Errorf("got %d reads of one file that hang, want at most 2", n)
	}
	released = true
	close(disk.release)
	if err := s.Check(t.Context(), 1); err != nil {
		t.Errorf("Check after the disk has answered: got the error %v, want none", err)
	}
	if _, err := repo.Manifest(t.Context(), slow); err != nil && !errors.Is(err, layoutstore.ErrSlow) {
		t.Errorf("Manifest after the disk has answered: got the error %v, want none or ErrSlow", err)
	}
}

// A request for a layer that cannot be opened ends when its context ends. If the layer is opened
// later, it is closed at once.
func TestRequestForASlowBlobEndsWithItsContext(t *testing.T) { synctest.Test(t, slowBlob) }

func slowBlob(t *testing.T) {
	repo, disk, _, fast, slow, layer := slowTree(t, soon, true)
	if _, err := repo.OpenBlob(t.Context(), layer, fromStart); !errors.Is(err, layoutstore.ErrSlow) {
		t.Errorf("OpenBlob(slow layer): got error %v, want ErrSlow", err)
	}
	for _, d := range []digest.Digest{fast, slow} {
		if _, err := repo.Manifest(t.Context(), d); err != nil {
			t.Errorf("Manifest(manifest on the same disk): got error %v, want none", err)
		}
	}
	close(disk.release)
}

// While a manifest is slow, a small blob is sent only after its digest was verified. It may be a
// damaged manifest to which only an unread index refers.
func TestUnverifiedBlobWaitsForAllManifests(t *testing.T) {
	synctest.Test(t, unverifiedBlobWaitsForAllManifests)
}

func unverifiedBlobWaitsForAllManifests(t *testing.T) {
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("app")
	a := l.Image(layouttest.Image{Layers: [][]byte{[]byte("fast")}})
	b := l.Image(layouttest.Image{Layers: [][]byte{[]byte("slow")}})
	l.Tag(a, "fast")
	l.Tag(b, "slow")
	l.Write()
	layer := digest.FromString("fast")
	if err := os.WriteFile(filepath.Join(dir, "app", "blobs", "sha256", layer.Encoded()), []byte("FAST"), 0o644); err != nil {
		t.Fatal(err)
	}
	disk := newSlowDisk(b.Digest.Encoded())
	defer close(disk.release)
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Roots: []string{""}, Patience: 10 * soon, Opened: disk.opened})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := tree.Snapshot().Repository("app")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Blob(t.Context(), layer); !errors.Is(err, layoutstore.ErrSlow) {
		t.Errorf("Blob(damaged blob) before all manifests were read: got error %v, want ErrSlow", err)
	}
}
