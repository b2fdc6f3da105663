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

// openWriter opens the store in the bucket of a server for writing.
func openWriter(t *testing.T, s *buckettest.Server) *publish.Bucket {
	t.Helper()
	w, err := publish.OpenBucket(t.Context(), s.Open(t, "store"))
	layouttest.Try(t, err)
	return w
}

// sweep deletes garbage, and returns the number of objects.
func sweep(t *testing.T, s *buckettest.Server, o publish.Sweeping) (int, error) {
	t.Helper()
	s.Advance(time.Minute) // so that timestamps in seconds differ
	w := openWriter(t, s)
	g, err := w.FindGarbage(t.Context(), o)
	layouttest.Try(t, err)
	return len(g.Objects) + len(g.Uploads), w.Sweep(t.Context(), g)
}

// abandon imports a bundle with a writer that dies before it publishes.
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

// A sweep deletes the uploads of a dead writer once they are old enough, and nothing else.
func TestSweepDeletesWhatDeadWritersLeave(t *testing.T) {
	s := buckettest.Start(t)
	if _, err := importInto(t, s, importertest.OldBundle(t)); err != nil {
		t.Fatal(err)
	}
	want, keys := contentOfStore(t, s), len(s.Keys(t, ""))
	abandon(t, s, importertest.NewBundle(t))
	o := publish.Sweeping{Age: publish.WriterAge, Grace: time.Hour}
	if n, err := sweep(t, s, o); n != 0 || err != nil {
		t.Fatalf("%d objects that a living writer may have uploaded, %v", n, err)
	}
	s.Advance(publish.WriterAge + time.Minute)
	left := len(s.Keys(t, "")) - keys
	n, err := sweep(t, s, o)
	if err != nil || n < left || left == 0 {
		t.Fatalf("%d objects, %d are left, %v", n, left, err)
	}
	importertest.Same(t, "after the sweep", contentOfStore(t, s), want)
	if n, err := sweep(t, s, o); n != 0 || err != nil {
		t.Fatalf("%d objects again, %v", n, err)
	}
	bundle := importertest.NewBundle(t)
	if _, err := importInto(t, s, bundle); err != nil {
		t.Fatal(err)
	}
	importertest.Same(t, "an import after the sweep", contentOfStore(t, s), want.Over(importertest.MustContent(t, bundle)))
}

// A sweep during an import deletes nothing that the import publishes.
func TestSweepDuringAnImport(t *testing.T) {
	bundle := importertest.NewBundle(t)
	lost := 0
	for n := 1; ; n += 12 {
		s := buckettest.Start(t)
		abandon(t, s, bundle) // the import reuses these uploads
		s.ResetCounts()
		reached := false
		s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
			if r.Number == n {
				reached = true
				f.Then = func() {
					if _, err := sweep(t, s, publish.Sweeping{}); err != nil && !errors.Is(err, publish.ErrLost) {
						t.Errorf("request %d: %v", n, err)
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
		} else if lost++; !errors.Is(err, publish.ErrLost) && !errors.Is(err, bucket.ErrChanged) { // ErrChanged is from the import's probe
			t.Errorf("request %d: %v", n, err)
		}
		importertest.Same(t, fmt.Sprintf("a sweep at request %d (%v)", n, err), contentOfStore(t, s), want)
	}
	if lost == 0 {
		t.Error("no import lost against a sweep, so the test proves nothing")
	}
}

// A sweep right before an import publishes deletes nothing that the import wrote. That holds even if the
// import only adds tags, so that the garbage contains no blob.
func TestSweepBeforeAnImportOfTagsPublishes(t *testing.T) {
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
		t.Errorf("swept %v: %v", swept, err)
	}
	importertest.Same(t, "the store", contentOfStore(t, s), importertest.MustContent(t, first))
}

// A sweep that deletes after another writer has published deletes nothing that this writer relies on.
func TestLateSweep(t *testing.T) {
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
		t.Fatal("nothing was deleted")
	}
	importertest.Same(t, "the store", contentOfStore(t, s), importertest.MustContent(t, bundle))
}

// After a sweep, the store has blobs of two epochs.
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
			t.Fatalf("%d objects, %v", k, err)
		}
		importertest.Same(t, fmt.Sprint("round ", n), contentOfStore(t, s), want)
	}
}
