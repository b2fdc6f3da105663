package drop_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// dropping is a drop directory with a clock that only the test advances.
type dropping struct {
	t          *testing.T
	dir, store string
	now        time.Time
	drop       *drop.Drop
	importer   *importertest.Importer
	published  int
}

func newDropping(t *testing.T) *dropping {
	t.Helper()
	d := &dropping{t: t, dir: importertest.Scratch(t), store: filepath.Join(importertest.Scratch(t), "store"), now: time.Now().Add(time.Hour)}
	d.restart()
	return d
}

// restart replaces the Drop with a new one, as if the process had been restarted.
func (d *dropping) restart(change ...func(*drop.Options)) {
	d.t.Helper()
	d.restartWith(importertest.New(d.t, d.store), change...)
}

func (d *dropping) restartWith(i *importertest.Importer, change ...func(*drop.Options)) {
	d.t.Helper()
	d.importer = i
	o := drop.Options{Dir: d.dir, Settle: 3 * time.Second, Now: func() time.Time { return d.now }, Published: func(context.Context) { d.published++ }}
	for _, f := range change {
		f(&o)
	}
	var err error
	if d.drop, err = d.importer.NewDrop(o); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dropping) scan(after time.Duration) (again time.Duration) {
	d.t.Helper()
	d.now = d.now.Add(after)
	_, again, err := d.drop.Scan(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return again
}

// wantStatus fails unless a bundle has this state, and its detail contains the text.
func (d *dropping) wantStatus(name, state, detail string) drop.Status {
	d.t.Helper()
	for _, s := range d.drop.Status() {
		if s.Name == name {
			if s.State != state || !strings.Contains(s.Detail, detail) {
				d.t.Errorf("%s has the state %s (%s), want %s (%s)", name, s.State, s.Detail, state, detail)
			}
			return s
		}
	}
	d.t.Errorf("%s is missing from the status, want the state %s", name, state)
	return drop.Status{}
}

func (d *dropping) has(name string) bool {
	_, err := os.Stat(filepath.Join(d.dir, name))
	return err == nil
}

func (d *dropping) put(from, to string) {
	d.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, to), data, 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func TestDropImportsArchive(t *testing.T) {
	d := newDropping(t)
	archive, _ := importertest.One(t)
	d.scan(0)
	d.put(archive, "module-one.tar")
	sum := filepath.Join(d.dir, "module-one.tar.gostsum")
	if err := os.WriteFile(sum, []byte(strings.Repeat("0", 64)), 0o644); err != nil {
		t.Fatal(err)
	}
	if again := d.scan(0); again != 3*time.Second {
		t.Errorf("the next scan is due after %s, want 3s", again)
	}
	d.wantStatus("module-one.tar", "waiting", "changed a moment ago")
	d.scan(3 * time.Second)
	if s := d.wantStatus("module-one.tar", "published", ""); s.Generation != 1 || d.published != 1 {
		t.Errorf("the status is %+v, published %d times, want generation 1, published once", s, d.published)
	}
	if d.has("module-one.tar") || !d.has("done/module-one.tar") || !d.has("done/module-one.tar.gostsum") {
		t.Error("the imported archive or its checksum file was not moved to done/, want both moved there")
	}
	importertest.Same(t, "the store", importertest.MustContent(t, d.store), importertest.MustContent(t, archive))
	// A second bundle with the same name does not replace the first one in done/.
	d.put(archive, "module-one.tar")
	d.scan(time.Second)
	d.scan(3 * time.Second)
	if !d.has("done/module-one.tar") || !d.has("done/2/module-one.tar") || d.published != 1 {
		t.Error("the second archive is not in done/2, or the first one is not in done/, want both there")
	}
	if totals := d.drop.Totals(); totals.Published != 2 || totals.Failed != 0 || totals.Bytes == 0 {
		t.Errorf("totals %+v", totals)
	}
}

// A chunked archive waits until its last chunk has arrived. Meanwhile, its status names the missing chunk.
func TestDropWaitsForChunks(t *testing.T) {
	archive, _ := importertest.One(t)
	want := importertest.MustContent(t, archive)
	chunks := layouttest.Split(t, archive, 4000)
	for late := range chunks {
		t.Run(fmt.Sprintf("%04d", late), func(t *testing.T) {
			d := newDropping(t)
			d.scan(0)
			for i := range chunks {
				if i := len(chunks) - 1 - i; i != late {
					d.put(chunks[i], filepath.Base(chunks[i]))
					d.scan(time.Second)
				}
			}
			d.scan(time.Hour)
			d.wantStatus("module-one.tar", "waiting", fmt.Sprintf("chunk %04d is missing", late))
			if d.scan(time.Hour) != 0 {
				t.Error("got a planned scan, want none: only a new file can complete the archive")
			}
			if _, err := os.Stat(d.store); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("scan of an incomplete archive: stat of the store returned %v, want ErrNotExist", err)
			}
			d.put(chunks[late], filepath.Base(chunks[late]))
			d.scan(time.Second)
			d.wantStatus("module-one.tar", "waiting", "changed a moment ago")
			d.scan(3 * time.Second)
			d.wantStatus("module-one.tar", "published", "")
			importertest.Same(t, "the store", importertest.MustContent(t, d.store), want)
			if !d.has("done/" + filepath.Base(chunks[0])) {
				t.Error("the imported chunks are not in done/, want them there")
			}
		})
	}
}

// An archive counts as incomplete while it is being copied, even if the copy is slow.
func TestDropWaitsForSlowCopy(t *testing.T) {
	archive, _ := importertest.One(t)
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	d := newDropping(t)
	for n := 0; n < len(data); n += len(data)/5 + 1 {
		if err := os.WriteFile(filepath.Join(d.dir, "module-one.tar"), data[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		d.scan(time.Minute)
		d.scan(time.Minute)
		d.wantStatus("module-one.tar", "waiting", "")
	}
	d.put(archive, "module-one.tar")
	d.scan(time.Second)
	d.scan(time.Minute)
	d.wantStatus("module-one.tar", "published", "")
}

// A subdirectory is imported as one bundle, but not while one of its files is still being written.
func TestDropImportsDirectory(t *testing.T) {
	bundle := importertest.NewBundle(t)
	d := newDropping(t)
	d.scan(0)
	if err := os.CopyFS(filepath.Join(d.dir, "bundle"), os.DirFS(bundle)); err != nil {
		t.Fatal(err)
	}
	d.put(filepath.Join(bundle, "module-console.tar"), "bundle/extra.tar.tmp")
	d.scan(time.Second)
	d.scan(time.Minute)
	d.wantStatus("bundle", "waiting", "extra.tar.tmp is still being written")
	if err := os.Remove(filepath.Join(d.dir, "bundle/extra.tar.tmp")); err != nil {
		t.Fatal(err)
	}
	d.scan(time.Second)
	d.wantStatus("bundle", "waiting", "changed a moment ago")
	d.scan(time.Minute)
	d.wantStatus("bundle", "published", "")
	importertest.Same(t, "the store", importertest.MustContent(t, d.store), importertest.MustContent(t, bundle))
	if !d.has("done/bundle/module-console.tar") {
		t.Error("the imported bundle is not in done/, want it there")
	}
}

// A dropped tree waits until its missing blobs arrive.
func TestDropDirectoryWaitsForBlobs(t *testing.T) {
	tree := layouttest.New(t, filepath.Join(t.TempDir(), "tree"))
	l := tree.Layout("modules/one")
	image := l.Image(layouttest.Image{Name: "one", LayerSizes: []int64{9000}})
	l.Tag(image, "v1")
	l.Write()
	d := newDropping(t)
	if err := os.CopyFS(filepath.Join(d.dir, "tree"), os.DirFS(tree.Dir())); err != nil {
		t.Fatal(err)
	}
	lacking := filepath.Join(d.dir, "tree/modules/one/blobs/sha256", image.Digest.Encoded())
	data, err := os.ReadFile(lacking)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(lacking); err != nil {
		t.Fatal(err)
	}
	d.scan(0)
	d.scan(time.Minute)
	d.wantStatus("tree", "waiting", image.Digest.String())
	if err := os.WriteFile(lacking, data, 0o644); err != nil {
		t.Fatal(err)
	}
	d.scan(time.Second)
	d.scan(time.Minute)
	d.wantStatus("tree", "published", "")
}

// If a damaged bundle changes while it is imported, it is not moved to failed/. It waits and is read again.
func TestDropReadsChangedBundleAgain(t *testing.T) {
	archive, places := importertest.One(t)
	layer := importertest.Largest(places)
	importertest.Flip(t, archive, layer.Body+4000)
	d := newDropping(t)
	changed := false
	d.restart(func(o *drop.Options) {
		o.Guard = func() error { // runs just before the import
			if !changed {
				changed = true
				return os.Chmod(filepath.Join(d.dir, "module-one.tar"), 0o600)
			}
			return nil
		}
	})
	d.put(archive, "module-one.tar")
	d.scan(time.Hour)
	d.wantStatus("module-one.tar", "waiting", "it changed a moment ago")
	d.scan(time.Hour)
	d.scan(time.Hour)
	d.wantStatus("module-one.tar", "failed", "modules/one")
	if !changed || !d.has("failed/module-one.tar.reason.json") || d.drop.Totals().Failed != 1 {
		t.Errorf("the bundle was changed during the import: %v, want true; the totals are %+v, want 1 failed bundle with a reason file", changed, d.drop.Totals())
	}
}

// A complete but damaged bundle is moved to failed/, with the reason beside it.
func TestDropMovesDamagedBundleToFailed(t *testing.T) {
	archive, places := importertest.One(t)
	layer := importertest.Largest(places)
	importertest.Flip(t, archive, layer.Body+4000)
	d := newDropping(t)
	d.put(archive, "module-one.tar")
	d.scan(time.Hour)
	d.wantStatus("module-one.tar", "failed", "modules/one")
	if d.has("module-one.tar") || !d.has("failed/module-one.tar") || d.published > 0 {
		t.Error("the damaged archive was published or was not moved to failed/, want it moved there and not published")
	}
	data, err := os.ReadFile(filepath.Join(d.dir, "failed/module-one.tar.reason.json"))
	if err != nil {
		t.Fatal(err)
	}
	var reason struct {
		Error string
		Gaps  []struct{ Entry, Tag string }
	}
	if err := json.Unmarshal(data, &reason); err != nil || len(reason.Gaps) != 1 || reason.Gaps[0].Entry != layer.Name || reason.Gaps[0].Tag != "v1" || reason.Error == "" {
		t.Errorf("%v: %s", err, data)
	}
}

func TestDropRemovesImportedBundle(t *testing.T) {
	archive, _ := importertest.One(t)
	d := newDropping(t)
	d.restart(func(o *drop.Options) { o.Remove = true })
	d.put(archive, "module-one.tar")
	d.scan(time.Hour)
	d.wantStatus("module-one.tar", "published", "")
	if left := importertest.Files(t, d.dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// While there is no free space, a bundle waits. Its import is retried after growing pauses.
func TestDropWaitsForFreeSpace(t *testing.T) {
	archive, _ := importertest.One(t)
	d := newDropping(t)
	full := true
	d.importer.Before(func(op, _ string) error {
		if full && op == "write" {
			return syscall.ENOSPC
		}
		return nil
	})
	var err error
	if d.drop, err = d.importer.NewDrop(drop.Options{Dir: d.dir, Settle: time.Second, Now: func() time.Time { return d.now }}); err != nil {
		t.Fatal(err)
	}
	d.put(archive, "module-one.tar")
	first := d.scan(time.Hour)
	d.wantStatus("module-one.tar", "waiting", "free space: ")
	if len(importertest.Unfinished(t, d.store)) > 0 {
		t.Errorf("files in staging after the failed import: got %v, want none", importertest.Unfinished(t, d.store))
	}
	if second := d.scan(first); second != 2*first {
		t.Errorf("the first two pauses: got %s and %s, want the second one twice as long", first, second)
	}
	full = false
	if left := d.scan(first); left != first {
		t.Errorf("after half of the second pause, the next scan is due after %s, want the other half", left)
	}
	d.scan(first)
	d.wantStatus("module-one.tar", "published", "")
}

// An imported bundle that cannot be moved to done/ is not read again, not even after a restart.
func TestDropKeepsBundleThatCannotBeMoved(t *testing.T) {
	archive, _ := importertest.One(t)
	d := newDropping(t)
	d.put(archive, "module-one.tar")
	if err := os.WriteFile(filepath.Join(d.dir, "done"), nil, 0o644); err != nil { // this file prevents the directory done/
		t.Fatal(err)
	}
	d.scan(time.Hour)
	d.wantStatus("module-one.tar", "published", "")
	for range 2 {
		d.restart()
		d.importer.Before(func(op, path string) error { return errors.New("the bundle is read again: " + op + " " + path) })
		if d.scan(time.Hour) != 0 {
			t.Error("got a planned scan, want none: nothing remains to be done")
		}
		d.wantStatus("module-one.tar", "published", "")
	}
	if !d.has("module-one.tar") {
		t.Error("the archive is gone from the drop directory, want it to stay")
	}
}

func TestNewDropRefusesMissingDirectory(t *testing.T) {
	if _, err := importertest.New(t, "store").NewDrop(drop.Options{Dir: filepath.Join(t.TempDir(), "nothing")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// Run notices a dropped bundle without a call of Scan.
func TestRunImportsDroppedBundle(t *testing.T) {
	archive, _ := importertest.One(t)
	d := newDropping(t)
	ctx, cancel := context.WithCancel(t.Context())
	published := make(chan struct{})
	drop, err := d.importer.NewDrop(drop.Options{Dir: d.dir, Settle: 10 * time.Millisecond, Published: func(context.Context) { close(published) }})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- drop.Run(ctx) }()
	d.put(archive, "module-one.tar")
	select {
	case <-published:
	case <-time.After(time.Minute):
		t.Error("never published")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// When a recorded bundle is removed from the drop directory, its record is removed from the store.
func TestDropForgetsRemovedBundles(t *testing.T) {
	d := newDropping(t)
	d.put(importertest.App(t, "a", "1.0"), "a.tar")
	importertest.Must(t, os.WriteFile(filepath.Join(d.dir, "done"), nil, 0o644)) // this file prevents the directory done/
	d.scan(time.Hour)
	record := filepath.Join(d.store, ".layoutproxy/dropped.json")
	if data, err := os.ReadFile(record); err != nil || !strings.Contains(string(data), "a.tar") {
		t.Fatalf("%s, %v", data, err)
	}
	importertest.Must(t, os.Remove(filepath.Join(d.dir, "a.tar")))
	d.restart()
	d.scan(time.Hour)
	if data, err := os.ReadFile(record); err != nil && !errors.Is(err, fs.ErrNotExist) || strings.Contains(string(data), "a.tar") {
		t.Errorf("%s, %v", data, err)
	}
}

// If a bundle is pulled into a drop directory, its import waits until the pull has moved all files
// into place.
func TestDropWaitsForPull(t *testing.T) {
	d := newDropping(t)
	importertest.Pulling(t, d.dir)
	d.scan(0)
	d.scan(3 * time.Second)
	d.wantStatus("a.tar", "waiting", "a pull is publishing here")
	d.wantStatus("b.tar", "waiting", "a pull is publishing here")
	want := importertest.MustContent(t, d.dir)
	importertest.FinishPull(t, d.dir)
	d.scan(0)
	d.scan(3 * time.Second)
	d.wantStatus("a.tar", "published", "")
	d.wantStatus("b.tar", "published", "")
	importertest.Same(t, "the store", importertest.MustContent(t, d.store), want)
}

// While a pull is writing into a subdirectory of the drop directory, that bundle waits. None of its
// files are moved.
func TestDropWaitsForPullIntoSubdirectory(t *testing.T) {
	d := removing(t)
	d.mkdir("bundle")
	dir := filepath.Join(d.dir, "bundle")
	importertest.Pulling(t, dir)
	want, before := importertest.MustContent(t, dir), importertest.Contents(t, dir)
	d.scan(0)
	d.scan(time.Minute)
	d.wantStatus("bundle", "waiting", "a pull is publishing here")
	if !maps.Equal(before, importertest.Contents(t, dir)) {
		t.Error("a file of the waiting bundle is gone, want all of them to stay")
	}
	importertest.FinishPull(t, dir)
	d.scan(time.Second)
	d.scan(time.Minute)
	d.wantStatus("bundle", "published", "")
	importertest.Same(t, "the store", importertest.MustContent(t, d.store), want)
}

// A package's own archive pins the version for the tag stable. The catalog of all packages never
// overrides this pin.
func TestDropCatalogDoesNotOverridePin(t *testing.T) {
	const own, all = "package-echo.tar", "package-versions.tar"
	d := newDropping(t)
	importertest.Catalog(t, d.dir, all, "v2")
	importertest.Catalog(t, d.dir, own, "v1")
	d.scan(0)
	d.scan(3 * time.Second)
	d.wantStatus(own, "published", "")
	d.wantStatus(all, "published", "")
	c := importertest.MustContent(t, d.store)
	if at := "packages/echo/version"; c[at+":stable"] != c[at+":v1"] || c[at+":v2"] == "" {
		t.Errorf("got the tags %v, want stable with the digest of v1, the version that the package pins", c)
	}
}
