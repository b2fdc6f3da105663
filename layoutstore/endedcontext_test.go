package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// endingVolume ends a context while a blob is located, or while a located blob is opened, and
// then returns an error. Without the end of the context, the error would be about the blob. A
// volume on a network file system behaves like that.
type endingVolume struct {
	volume.Volume
	end    func()
	err    error
	opened bool        // end the context when a file is opened
	over   atomic.Bool // end no more contexts
}

func (v *endingVolume) Locate(ctx context.Context, layout string, d digest.Digest) (extent.List, error) {
	if !v.opened && v.ends(ctx) {
		return nil, v.err
	}
	where, err := v.Volume.Locate(ctx, layout, d)
	for i := range where {
		where[i].File = endingFile{where[i].File, v}
	}
	return where, err
}

// ends ends the context of the test, and reports whether ctx has ended with it.
func (v *endingVolume) ends(ctx context.Context) bool {
	if v.over.Load() {
		return false
	}
	v.end()
	return ctx.Err() != nil
}

func (v *endingVolume) Blobs(ctx context.Context, layout string) ([]digest.Digest, error) {
	if v.ends(ctx) {
		return nil, v.err
	}
	return v.Volume.Blobs(ctx, layout)
}

type endingFile struct {
	extent.File
	v *endingVolume
}

func (f endingFile) Open(ctx context.Context) (*os.File, error) {
	if f.v.opened && f.v.ends(ctx) {
		return nil, f.v.err
	}
	return f.File.Open(ctx)
}

// endingTree is a tree in which every method has to read. It has a tagged and an untagged manifest
// whose descriptors disagree about the size, a quarantined blob and a missing one.
type endingTree struct {
	snapshot                        *Snapshot
	repo                            *Repository
	layout                          Layout
	manifest, rotten, good, missing digest.Digest
	stamp                           string
}

func newEndingTree(t *testing.T, source string, quarantined bool) (e endingTree) {
	t.Helper()
	tree, err := Open(t.Context(), Options{Sources: []string{source}, Roots: []string{""}, Indexes: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	e.snapshot = tree.Snapshot()
	if e.repo, err = e.snapshot.At("app"); err != nil {
		t.Fatal(err)
	}
	e.layout = e.repo.Layouts()[0]
	e.rotten, e.good, e.missing = digest.FromString("rotten"), digest.FromString("good"), digest.FromString("missing")
	if e.manifest, err = e.repo.TagDigest("v1"); err != nil {
		t.Fatal(err)
	}
	if e.stamp, err = e.layout.Stamp(t.Context(), e.rotten); err != nil {
		t.Fatal(err)
	}
	if quarantined {
		if _, err := e.repo.Quarantine(t.Context(), e.layout, e.rotten, e.stamp, "rotten"); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// endingSources returns sources of each kind with the layout app.
func endingSources(t *testing.T) map[string]string {
	t.Helper()
	built := layouttest.New(t, t.TempDir())
	l := built.Layout("app")
	for _, tag := range []string{"v1", ""} {
		image := l.Image(layouttest.Image{Name: "disputed" + tag, Layers: [][]byte{[]byte("rotten"), []byte("good"), []byte("missing")}})
		other := image
		other.Size++
		if tag == "" {
			l.Add(image)
		} else {
			l.Tag(image, tag)
		}
		l.Add(other)
	}
	l.Write()
	if err := os.Remove(l.BlobPath(digest.FromString("missing"))); err != nil {
		t.Fatal(err)
	}
	archive, chunks := filepath.Join(t.TempDir(), "bundle.tar"), filepath.Join(t.TempDir(), "bundle.tar")
	built.Archive(archive, layouttest.Archive{})
	built.Archive(chunks, layouttest.Archive{})
	layouttest.Cut(t, chunks, 2000)
	return map[string]string{"directory": built.Dir(), "archive": archive, "chunks": filepath.Dir(chunks)}
}

// endingReads are all methods that may read a file.
var endingReads = map[string]func(ctx context.Context, e endingTree) error{
	"Tag":      func(ctx context.Context, e endingTree) error { _, err := e.repo.Tag(ctx, "v1"); return err },
	"Untagged": func(ctx context.Context, e endingTree) error { _, err := e.repo.Untagged(ctx); return err },
	"Manifest": func(ctx context.Context, e endingTree) error { _, err := e.repo.Manifest(ctx, e.manifest); return err },
	"ManifestBytes": func(ctx context.Context, e endingTree) error {
		_, err := e.repo.ManifestBytes(ctx, e.manifest)
		return err
	},
	"Blob":              func(ctx context.Context, e endingTree) error { _, err := e.repo.Blob(ctx, e.good); return err },
	"Blob, quarantined": func(ctx context.Context, e endingTree) error { _, err := e.repo.Blob(ctx, e.rotten); return err },
	"Blob, missing":     func(ctx context.Context, e endingTree) error { _, err := e.repo.Blob(ctx, e.missing); return err },
	"OpenBlob": func(ctx context.Context, e endingTree) error {
		_, err := e.repo.OpenBlob(ctx, e.good, func(size int64) (off, n int64) { return 0, size })
		return err
	},
	"Graph": func(ctx context.Context, e endingTree) error { _, err := e.repo.Graph(ctx); return err },
	"Audit": func(ctx context.Context, e endingTree) error {
		fail := func(p Problem) { panic(fmt.Sprintf("found %v", p)) }
		ended := Findings{Problem: fail, NonDistributable: fail}
		_, err := e.snapshot.AuditWith(ctx, "app", ended)
		return err
	},
	"Check":    func(ctx context.Context, e endingTree) error { return e.snapshot.Check(ctx, 1) },
	"Problems": func(ctx context.Context, e endingTree) error { _, err := e.snapshot.Problems(ctx); return err },
	"QuarantineProblem": func(ctx context.Context, e endingTree) error {
		_, ok, err := e.snapshot.QuarantineProblem(ctx, "app", e.layout, e.rotten)
		if ok {
			return errors.New("a problem")
		}
		return err
	},
	"Quarantine": func(ctx context.Context, e endingTree) error {
		_, err := e.repo.Quarantine(ctx, e.layout, e.good, "stamp", "reason")
		return err
	},
	"isOutdated": func(ctx context.Context, e endingTree) error {
		if err := e.snapshot.Check(context.Background(), 1); err != nil { // so that there is something to compare
			return err
		}
		_, err := e.repo.isOutdated(ctx)
		return err
	},
	"Layout.Locate": func(ctx context.Context, e endingTree) error { _, err := e.layout.Locate(ctx, e.good); return err },
	"Layout.Chunks": func(ctx context.Context, e endingTree) error { _, err := e.layout.Chunks(ctx, e.good); return err },
	"Layout.Stamp":  func(ctx context.Context, e endingTree) error { _, err := e.layout.Stamp(ctx, e.good); return err },
	"Layout.Blobs":  func(ctx context.Context, e endingTree) error { _, err := e.layout.Blobs(ctx); return err },
	"Layout.Index":  func(ctx context.Context, e endingTree) error { _, err := e.layout.Index(ctx); return err },
}

// opensNothing lists the calls that only locate content and open no file.
var opensNothing = map[string]bool{"Quarantine": true, "Layout.Locate": true, "Layout.Chunks": true, "Blob": true, "Blob, missing": true}

// needsQuarantine are the methods that read only if there is a quarantine.
var needsQuarantine = map[string]bool{"Problems": true, "QuarantineProblem": true, "Blob, quarantined": true}

// Whatever a volume returns after a context has ended, each method returns the context's error,
// reports no problem, changes no quarantine, and remembers no result. A second caller with its
// own context gets everything.
func TestEndedContextIsNotDamage(t *testing.T) {
	broken := problem.Problem{Kind: Damaged, Reason: "a problem of the content"}
	ways := map[string]*endingVolume{
		"before":                nil,
		"located, not found":    {err: fs.ErrNotExist},
		"located, an I/O error": {err: syscall.EIO},
		"located, a problem":    {err: &problem.Error{Problem: broken}},
		"opened, not found":     {err: fs.ErrNotExist, opened: true},
		"opened, an I/O error":  {err: syscall.EIO, opened: true},
		"opened, changed":       {err: extent.ErrStale, opened: true},
	}
	for kind, source := range endingSources(t) {
		for _, quarantined := range []bool{true, false} { // false: no manifest has been read yet
			want := endingProblems(t, newEndingTree(t, source, quarantined))
			for when, v := range ways {
				for name, read := range endingReads {
					// Skip methods that read nothing: their context would not end.
					reads := v == nil || kind != "chunks" && name != "Layout.Index" && !(v.opened && opensNothing[name])
					if reads && (quarantined || !needsQuarantine[name]) {
						t.Run(fmt.Sprintf("%s/%v/%s/%s", kind, quarantined, when, name), func(t *testing.T) {
							endedRead(t, newEndingTree(t, source, quarantined), v, read, v != nil && name == "Check", want)
						})
					}
				}
			}
		}
	}
}

// endingProblems returns all problems of a tree, after a check.
func endingProblems(t *testing.T, e endingTree) []Problem {
	t.Helper()
	err := e.snapshot.Check(t.Context(), 1)
	found, errProblems := e.snapshot.Problems(t.Context())
	if err := errors.Join(err, errProblems); err != nil || len(found) < 3 {
		t.Fatalf("%d problems, %v", len(found), err)
	}
	return found
}

func endedRead(t *testing.T, e endingTree, v *endingVolume, read func(context.Context, endingTree) error, finishes bool, want []Problem) {
	cause := errors.New("the caller's context has ended")
	ctx, end := context.WithCancelCause(t.Context())
	copies := e.repo.quarantine.count.Load()
	if v == nil {
		end(cause)
	} else {
		v = &endingVolume{Volume: e.layout.indexed.vol, err: v.err, opened: v.opened, end: func() { end(cause) }}
		e.layout.indexed.vol = v
	}
	err := read(ctx, e)
	if v != nil {
		v.over.Store(true)
	}
	if ctx.Err() == nil {
		t.Error("the method has read nothing")
	}
	// A check continues while its own context lasts, and may end before the caller's context:
	// then its result is correct, as the last comparison shows.
	if ended := errors.Is(err, cause) || errors.Is(err, context.Canceled); !ended && (err != nil || !finishes) {
		t.Errorf("%v, want the cause of the context", err)
	}
	if errors.As(err, new(*ProblemError)) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrStale) || errors.Is(err, ErrBlobUnknown) || errors.Is(err, ErrManifestUnknown) {
		t.Errorf("%v is about the content", err)
	}
	if e.repo.suspect.Load() || e.repo.quarantine.count.Load() != copies {
		t.Error("a result is remembered")
	}
	if _, err := e.repo.Manifest(t.Context(), e.manifest); err != nil {
		t.Error(err)
	}
	if b, err := e.repo.Blob(t.Context(), e.good); err != nil || b.Size != 4 {
		t.Error(b, err)
	}
	if diff := cmp.Diff(want, endingProblems(t, e)); diff != "" {
		t.Error(diff)
	}
}

// exhaustedVolume is a volume without free file handles.
type exhaustedVolume struct{ volume.Volume }

func (exhaustedVolume) Locate(context.Context, string, digest.Digest) (extent.List, error) {
	return nil, syscall.EMFILE
}

// The claimed sizes are unknown in two cases. If the context has ended, that is an error. If no
// file can be opened, the size counts as claimed.
func TestUnreadableClaims(t *testing.T) {
	for kind, source := range endingSources(t) {
		e := newEndingTree(t, source, false)
		where, err := e.layout.Locate(t.Context(), e.good)
		layouttest.Try(t, err)
		short, err := where.Slice(0, 1)
		layouttest.Try(t, err)
		cause := errors.New("the caller's context has ended")
		ended, end := context.WithCancelCause(t.Context())
		end(cause)
		vol := e.layout.indexed.vol
		e.layout.indexed.vol = exhaustedVolume{vol}
		if wrong, err := e.repo.unclaimed(ended, e.good, where); wrong || !errors.Is(err, cause) {
			t.Errorf("%s: %v, %v", kind, wrong, err)
		}
		if wrong, err := e.repo.unclaimed(t.Context(), e.good, short); wrong || err != nil {
			t.Errorf("%s: %v, %v", kind, wrong, err)
		}
		e.layout.indexed.vol = vol
		if wrong, err := e.repo.unclaimed(t.Context(), e.good, short); !wrong || err != nil {
			t.Errorf("%s: a size that no manifest claims: %v, %v", kind, wrong, err)
		}
	}
}
