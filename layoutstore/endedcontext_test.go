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

// endingVolume ends a context while it locates a blob or opens a located blob, and then returns an
// error. If the context had not ended, the error would be about the blob. Volumes on network file
// systems do the same.
type endingVolume struct {
	volume.Volume
	end    func()
	err    error
	opened bool        // end the context when a file is opened, not when it is located
	over   atomic.Bool // behave like Volume from now on
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

// ends ends the context of the test, and reports whether ctx has ended.
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

// endingTree is a tree in which every method has to read. It contains two manifests, one of them
// tagged, whose descriptors disagree about the size. It also has a missing blob, and may have a
// quarantined blob.
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

// endingSources returns a directory, an archive and a chunk set, each with the same layout app.
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

// endingReads are calls of all methods that may read a file, by name.
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
		if err := e.snapshot.Check(context.Background(), 1); err != nil { // isOutdated reads only after a check
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

// opensNothing lists the calls that locate content but open no file.
var opensNothing = map[string]bool{"Quarantine": true, "Layout.Locate": true, "Layout.Chunks": true, "Blob": true, "Blob, missing": true}

// needsQuarantine lists the calls that read only if a blob is quarantined.
var needsQuarantine = map[string]bool{"Problems": true, "QuarantineProblem": true, "Blob, quarantined": true}

// After a context has ended, a volume may return any error. Each method must then return the
// context's error, report no problem, and change neither the quarantine nor a cached result. A
// later caller with its own context gets everything.
func TestEndedContextIsNotDamage(t *testing.T) {
	broken := problem.Problem{Kind: Damaged, Reason: "a problem of the content"}
	ways := map[string]*endingVolume{
		"before the call":               nil,
		"during Locate: not found":      {err: fs.ErrNotExist},
		"during Locate: I/O error":      {err: syscall.EIO},
		"during Locate: problem":        {err: &problem.Error{Problem: broken}},
		"during Open: not found":        {err: fs.ErrNotExist, opened: true},
		"during Open: I/O error":        {err: syscall.EIO, opened: true},
		"during Open: the file changed": {err: extent.ErrStale, opened: true},
	}
	for kind, source := range endingSources(t) {
		// If no blob is quarantined, no manifest has been read yet.
		for _, quarantined := range []bool{true, false} {
			want := endingProblems(t, newEndingTree(t, source, quarantined))
			for when, v := range ways {
				for name, read := range endingReads {
					// Skip calls that read nothing, because they do not end the context.
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

func endingProblems(t *testing.T, e endingTree) []Problem {
	t.Helper()
	err := e.snapshot.Check(t.Context(), 1)
	found, errProblems := e.snapshot.Problems(t.Context())
	if err := errors.Join(err, errProblems); err != nil || len(found) < 3 {
		t.Fatalf("got %d problems, want at least 3; error %v, want none", len(found), err)
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
		t.Error("ctx.Err() = nil, want an error: the method read nothing, so the test did not end the context")
	}
	// A check may complete although the caller's context has ended, and its result is correct.
	if ended := errors.Is(err, cause) || errors.Is(err, context.Canceled); !ended && (err != nil || !finishes) {
		t.Errorf("got error %v, want the cause of the context", err)
	}
	if errors.As(err, new(*ProblemError)) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrStale) || errors.Is(err, ErrBlobUnknown) || errors.Is(err, ErrManifestUnknown) {
		t.Errorf("got error %v, want no error about the content", err)
	}
	if e.repo.suspect.Load() || e.repo.quarantine.count.Load() != copies {
		t.Error("want the same quarantine and no mark as suspect, but the method changed one of them")
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

// exhaustedVolume is a volume in a process that cannot open more files.
type exhaustedVolume struct{ volume.Volume }

func (exhaustedVolume) Locate(context.Context, string, digest.Digest) (extent.List, error) {
	return nil, syscall.EMFILE
}

// The method unclaimed may be unable to read the claimed sizes. If the context has ended, unclaimed
// returns an error. If no file can be opened, unclaimed treats the size of the copy as claimed.
func TestUnclaimedWithUnreadableManifests(t *testing.T) {
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
			t.Errorf("%s: unclaimed(ended context): got %v and error %v, want false and the cause", kind, wrong, err)
		}
		if wrong, err := e.repo.unclaimed(t.Context(), e.good, short); wrong || err != nil {
			t.Errorf("%s: unclaimed without a free file handle: got %v and error %v, want false and none", kind, wrong, err)
		}
		e.layout.indexed.vol = vol
		if wrong, err := e.repo.unclaimed(t.Context(), e.good, short); !wrong || err != nil {
			t.Errorf("%s: unclaimed(copy of a size that no manifest claims): got %v and error %v, want true and none", kind, wrong, err)
		}
	}
}
