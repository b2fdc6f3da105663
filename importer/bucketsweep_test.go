package importer_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func openWriter(t *testing.T, s *buckettest.Server) *publish.Bucket {
	t.Helper()
	w, err := publish.OpenBucket(t.Context(), s.Open(t, "store"))
	layouttest.Try(t, err)
	return w
}

// sweep deletes the garbage in the store. It returns how many objects and unfinished uploads were
// garbage, in total.
func sweep(t *testing.T, s *buckettest.Server, o publish.Sweeping) (int, error) {
	t.Helper()
	// Timestamps have a resolution of one second. So let the sweep begin later than the last write.
	s.Advance(time.Minute)
	w := openWriter(t, s)
	g, err := w.FindGarbage(t.Context(), o)
	layouttest.Try(t, err)
	return len(g.Objects) + len(g.Uploads), w.Sweep(t.Context(), g)
}

// abandon starts an import that fails before the publication, so that its uploads become garbage.
func abandon(t *testing.T, s *buckettest.Server, bundle string) {
	t.Helper()
	s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
		f.Drop = r.Operation == buckettest.Put && strings.HasSuffix(r.Key, "/store.json") && r.IfMatch != ""
		return f
	})
	if _, err := importInto(t, s, bundle); err == nil {
		t.Fatal("no error")
	}
	s.Fail(nil)
}

// A sweep deletes the uploads of a dead writer once they are old enough. It deletes nothing else.
func TestSweepDeletesUploadsOfDeadWriters(t *testing.T) {
	s := buckettest.Start(t)
	if _, err := importInto(t, s, importertest.OldBundle(t)); err != nil {
		t.Fatal(err)
	}
	want, keys := contentOfStore(t, s), len(s.Keys(t, ""))
	abandon(t, s, importertest.NewBundle(t))
	o := publish.Sweeping{Age: publish.WriterAge, Grace: time.Hour}
	if n, err := sweep(t, s, o); n != 0 || err != nil {
		t.Fatalf("the sweep deleted %d objects that a living writer may have uploaded, want 0; error %v", n, err)
	}
	s.Advance(publish.WriterAge + time.Minute)
	left := len(s.Keys(t, "")) - keys
	n, err := sweep(t, s, o)
	if err != nil || n < left || left == 0 {
		t.Fatalf("the sweep deleted %d objects, want at least the %d of the dead writer; error %v", n, left, err)
	}
	importertest.Same(t, "the store after the sweep", contentOfStore(t, s), want)
	if n, err := sweep(t, s, o); n != 0 || err != nil {
		t.Fatalf("a second sweep deleted %d objects, want 0; error %v", n, err)
	}
	bundle := importertest.NewBundle(t)
	if _, err := importInto(t, s, bundle); err != nil {
		t.Fatal(err)
	}
	importertest.Same(t, "the store after an import that follows the sweep", contentOfStore(t, s), want.Over(importertest.MustContent(t, bundle)))
}

// A sweep during an import deletes nothing that the import publishes.
func TestSweepDuringAnImport(t *testing.T) {
	bundle := importertest.NewBundle(t)
	lost := 0
	for n := 1; ; n += 12 {
		s := buckettest.Start(t)
		abandon(t, s, bundle) // the import below reuses these uploads
		s.ResetCounts()
		reached := false
		s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
			if r.Number == n {
				reached = true
				f.Then = func() {
					if _, err := sweep(t, s, publish.Sweeping{}); err != nil && !errors.Is(err, publish.ErrLost) {
						t.Errorf("the sweep at request %d failed: %v", n, err)
					}
				}
			}
			return f
		})
		_, err := importInto(t, s, bundle)
		s.Fail(nil)
		if !reached {
			break
		}
		want := importertest.Content{}
		if err == nil {
			want = importertest.MustContent(t, bundle)
		} else if lost++; !errors.Is(err, publish.ErrLost) && !errors.Is(err, bucket.ErrChanged) { // the import's probe of the bucket can fail with ErrChanged
			t.Errorf("sweep at request %d: the import failed: %v", n, err)
		}
		importertest.Same(t, fmt.Sprintf("the store after a sweep at request %d (import error: %v)", n, err), contentOfStore(t, s), want)
	}
	if lost == 0 {
		t.Error("no import failed because of a sweep, so the test proves nothing")
	}
}

// If a sweep runs right before an import publishes, the import fails with ErrLost, and the store stays as it
// was. The import only adds a tag, so the garbage contains no blob.
func TestSweepRightBeforePublication(t *testing.T) {
	s := buckettest.Start(t)
	first := importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "a.tar"), "app:v1=image")
	if _, err := importInto(t, s, first); err != nil {
		t.Fatal(err)
	}
	swept := false
	s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
		if r.Operation == buckettest.Put && strings.HasSuffix(r.Key, "/store.json") && r.IfMatch != "" && !swept {
			swept = true
			f.Then = func() {
				if _, err := sweep(t, s, publish.Sweeping{}); err != nil {
					t.Error(err)
				}
			}
		}
		return f
	})
	_, err := importInto(t, s, importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "b.tar"), "app:v2=image"))
	s.Fail(nil)
	if !swept || !errors.Is(err, publish.ErrLost) {
		t.Errorf("a sweep ran: %v, want true; error of the import: %v, want ErrLost", swept, err)
	}
	importertest.Same(t, "the store", contentOfStore(t, s), importertest.MustContent(t, first))
}

// While a sweep deletes garbage, an import publishes blobs with the same digests. The sweep deletes nothing
// that the import uses.
func TestSweepAfterAnotherWriterPublished(t *testing.T) {
	s := buckettest.Start(t)
	bundle := importertest.NewBundle(t)
	abandon(t, s, bundle)
	s.Advance(time.Minute)
	w := openWriter(t, s)
	g, err := w.FindGarbage(t.Context(), publish.Sweeping{})
	layouttest.Try(t, err)
	raced := false
	s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
		if r.Operation == buckettest.Delete && strings.Contains(r.Key, "/blobs/") && !raced {
			raced = true
			f.Then = func() {
				if _, err := importInto(t, s, bundle); err != nil {
					t.Error(err)
				}
			}
		}
		return f
	})
	layouttest.Try(t, w.Sweep(t.Context(), g))
	s.Fail(nil)
	if !raced {
		t.Fatal("the sweep did not try to delete a blob, so the test proves nothing")
	}
	importertest.Same(t, "the store", contentOfStore(t, s), importertest.MustContent(t, bundle))
}

// Imports succeed after sweeps, although the store then has blobs of several epochs: each of these
// sweeps begins a new one.
func TestImportsAfterSweeps(t *testing.T) {
	s := buckettest.Start(t)
	want := importertest.Content{}
	for n := range 4 {
		bundle := importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "a.tar"), fmt.Sprintf("app:v%d=image%d", n, n), "app:stable=image", "base:v1=base")
		if _, err := importInto(t, s, bundle); err != nil {
			t.Fatal(err)
		}
		want = want.Over(importertest.MustContent(t, bundle))
		abandon(t, s, importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "b.tar"), fmt.Sprintf("other:v%d=other%d", n, n)))
		if k, err := sweep(t, s, publish.Sweeping{}); k == 0 || err != nil {
			t.Fatalf("the sweep deleted %d objects, want some; error %v", k, err)
		}
		importertest.Same(t, fmt.Sprint("round ", n), contentOfStore(t, s), want)
	}
}
