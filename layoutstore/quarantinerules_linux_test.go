package layoutstore_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// finding quarantines the blob again, and reports whether this is news.
func (q quarantined) finding(t *testing.T, stamp, reason string) bool {
	t.Helper()
	repo, layout := q.repository(t)
	news, err := repo.Quarantine(t.Context(), layout, q.digest, stamp, reason)
	if err != nil {
		t.Fatal(err)
	}
	return news
}

func (q quarantined) stamp(t *testing.T) string {
	t.Helper()
	_, layout := q.repository(t)
	stamp, err := layout.Stamp(t.Context(), q.digest)
	if err != nil {
		t.Fatal(err)
	}
	return stamp
}

// The same finding is news only once. A finding with a different state of the file or a different
// reason is news. It replaces the first, so there is only one record.
func TestFindingsOfOneCopy(t *testing.T) {
	q := quarantine(t, false)
	stamp := q.stamp(t)
	if q.finding(t, stamp, "rotten") || len(q.records(t)) != 1 {
		t.Errorf("same finding again: want no news and 1 record, got the records %v", q.records(t))
	}
	first := q.records(t)[0]
	if err := os.Remove(first); err != nil { // simulate a user who clears the cache
		t.Fatal(err)
	}
	if q.finding(t, stamp, "rotten") || !slices.Equal(q.records(t), []string{first}) {
		t.Errorf("same finding after its record was removed: want no news and the same record, got the records %v", q.records(t))
	}
	before := layouttest.ReadFile(t, first)
	if !q.finding(t, stamp, "rotten through") || bytes.Equal(layouttest.ReadFile(t, first), before) || len(q.records(t)) != 1 {
		t.Errorf("finding with a different reason: want news and 1 changed record, got %s", layouttest.ReadFile(t, first))
	}
	if !q.finding(t, "an earlier state", "rotten") || len(q.records(t)) != 1 || q.records(t)[0] == first {
		t.Errorf("finding with a different state: want news and 1 new record, got the records %v", q.records(t))
	}
	repo, layout := q.repository(t)
	repo.Release(layout, q.digest, "a state without a finding")
	if len(q.records(t)) != 1 {
		t.Errorf("Release with the stamp of a different state: the record is missing, want it unchanged")
	}
	repo.Release(layout, q.digest, "an earlier state")
	if len(q.records(t)) != 0 || q.refused(t) {
		t.Errorf("after Release: want the blob served and no records, got the records %v", q.records(t))
	}
}

// If manifests claim only other sizes for a copy, the copy is refused, and a check reports it. So a
// finding about the copy is no news.
func TestFindingAboutCopyOfWrongSize(t *testing.T) {
	q := quarantine(t, false)
	if err := os.Truncate(q.file, 3); err != nil {
		t.Fatal(err)
	}
	if q.finding(t, q.stamp(t), "short") {
		t.Error("Quarantine(copy of a wrong size): got news, want none")
	}
	repo, layout := q.repository(t)
	if _, err := repo.Blob(t.Context(), q.digest); err == nil {
		t.Error("Blob(copy of a wrong size): got no error, want one")
	}
	if p, ok, err := q.tree.Snapshot().QuarantineProblem(t.Context(), "app", layout, q.digest); ok || err != nil {
		t.Errorf("QuarantineProblem(copy of a wrong size): got the problem %v and error %v, want none", p, err)
	}
	// A finding about a missing copy is news, because nothing else has reported it.
	if err := os.Remove(q.file); err != nil {
		t.Fatal(err)
	}
	if !q.finding(t, "before it was removed", "rotten") {
		t.Error("Quarantine(missing copy): got no news, want news")
	}
	if p, ok, err := q.tree.Snapshot().QuarantineProblem(t.Context(), "app", layout, q.digest); ok || err != nil {
		t.Errorf("QuarantineProblem(missing copy): got the problem %v and error %v, want none", p, err)
	}
}

// After the context has ended, each method returns the error of the context, and records nothing.
func TestQuarantineWithEndedContext(t *testing.T) {
	q := quarantine(t, false)
	repo, layout := q.repository(t)
	stamp := q.stamp(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if news, err := repo.Quarantine(gone, layout, q.digest, "another", "rotten"); news || !errors.Is(err, context.Canceled) {
		t.Errorf("Quarantine: got news %v and error %v, want false and context.Canceled", news, err)
	}
	if s, err := layout.Stamp(gone, q.digest); s != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("Stamp: got %q and error %v, want an empty stamp and context.Canceled", s, err)
	}
	if p, ok, err := q.tree.Snapshot().QuarantineProblem(gone, "app", layout, q.digest); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("QuarantineProblem: got %v and error %v, want no problem and context.Canceled", p, err)
	}
	if q.finding(t, stamp, "rotten") || len(q.records(t)) != 1 {
		t.Error("first finding again, after the call with the ended context: want no news and 1 record")
	}
}

// The problem of a quarantined copy names a tag that leads to the blob. It is listed only once,
// even if a check has also found it.
func TestProblemsOfTheQuarantine(t *testing.T) {
	built := layouttest.New(t, t.TempDir())
	l := built.Layout("app")
	l.Tag(l.Image(layouttest.Image{Name: "other"}), "v1")
	l.Tag(l.Image(layouttest.Image{Name: "rotten", Layers: [][]byte{[]byte("rotten")}}), "v2")
	l.Write()
	tree := openWith(t, layoutstore.Options{Sources: []string{built.Dir()}, Roots: []string{""}, Indexes: []string{}})
	d := digest.FromString("rotten")
	for range 2 {
		if err := tree.Snapshot().Check(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		repo, err := tree.Snapshot().At("app")
		if err != nil {
			t.Fatal(err)
		}
		layout := repo.Layouts()[0]
		stamp, err := layout.Stamp(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := repo.Quarantine(t.Context(), layout, d, stamp, "rotten"); err != nil {
			t.Fatal(err)
		}
		all := problemsOf(tree.Snapshot())
		if len(all) != 1 || all[0].Digest != d || !slices.Equal(all[0].Tags, []string{"v2"}) {
			t.Errorf("got the problems %+v, want one, of the quarantined layer, with the tag v2", all)
		}
		if p, ok, err := tree.Snapshot().QuarantineProblem(t.Context(), "elsewhere", layout, d); ok || err != nil {
			t.Errorf("QuarantineProblem(unknown repository): got the problem %v and error %v, want none", p, err)
		}
		if p, ok, err := tree.Snapshot().QuarantineProblem(t.Context(), "app", layout, digest.FromString("x")); ok || err != nil {
			t.Errorf("QuarantineProblem(blob that is not quarantined): got the problem %v and error %v, want none", p, err)
		}
		if _, err := tree.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// If the content of a record is damaged, the first request for its blob is refused. layoutproxy
// then writes the record again, so that the next process can read it.
func TestRecordIsWrittenAgain(t *testing.T) {
	q := quarantine(t, false)
	if err := os.Truncate(q.records(t)[0], 0); err != nil {
		t.Fatal(err)
	}
	q.restart(t)
	repo, _ := q.repository(t)
	if _, err := repo.Blob(t.Context(), q.digest); err == nil {
		t.Error("first request for the blob: got no error, want one")
	}
	if news := q.finding(t, q.stamp(t), "rotten"); !news { // this is news, because the reason was not known
		t.Error("finding with a new reason: got no news, want news")
	}
	q.restart(t)
	if quarantineProblem(q.tree, "") || !q.refused(t) {
		t.Errorf("want a refused blob and no problem of the quarantine, got the problems %v", problemsOf(q.tree.Snapshot()))
	}
	repo, layout := q.repository(t)
	repo.Release(layout, q.digest, q.stamp(t))
	if q.refused(t) || len(q.records(t)) != 0 {
		t.Errorf("after Release: want the blob served and no records, got the records %v", q.records(t))
	}
}
