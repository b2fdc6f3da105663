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

// finding quarantines the blob once more, and reports whether that is news.
func (q quarantined) finding(t *testing.T, stamp, reason string) bool {
	t.Helper()
	repo, layout := q.repository(t)
	news, err := repo.Quarantine(t.Context(), layout, q.digest, stamp, reason)
	if err != nil {
		t.Fatal(err)
	}
	return news
}

// stamp returns the stamp of the blob's file.
func (q quarantined) stamp(t *testing.T) string {
	t.Helper()
	_, layout := q.repository(t)
	stamp, err := layout.Stamp(t.Context(), q.digest)
	if err != nil {
		t.Fatal(err)
	}
	return stamp
}

// A finding is news once. A finding with another state of the file or another reason is news again,
// and replaces the first one: there is only one record.
func TestFindingsOfOneCopy(t *testing.T) {
	q := quarantine(t, false)
	stamp := q.stamp(t)
	if q.finding(t, stamp, "rotten") || len(q.records(t)) != 1 {
		t.Errorf("the same finding is news; records: %v", q.records(t))
	}
	first := q.records(t)[0]
	if err := os.Remove(first); err != nil { // as if somebody cleared the cache
		t.Fatal(err)
	}
	if q.finding(t, stamp, "rotten") || !slices.Equal(q.records(t), []string{first}) {
		t.Errorf("a removed record is not written again: %v", q.records(t))
	}
	before := layouttest.ReadFile(t, first)
	if !q.finding(t, stamp, "rotten through") || bytes.Equal(layouttest.ReadFile(t, first), before) || len(q.records(t)) != 1 {
		t.Errorf("another reason is not news, or has no record: %s", layouttest.ReadFile(t, first))
	}
	if !q.finding(t, "an earlier state", "rotten") || len(q.records(t)) != 1 || q.records(t)[0] == first {
		t.Errorf("another state is not news, or the first record is still there: %v", q.records(t))
	}
	repo, layout := q.repository(t)
	repo.Release(layout, q.digest, "a state without a finding")
	if len(q.records(t)) != 1 {
		t.Errorf("a verification of the file in another state lifted the quarantine")
	}
	repo.Release(layout, q.digest, "an earlier state")
	if len(q.records(t)) != 0 || q.refused(t) {
		t.Errorf("it is refused after the verification; records: %v", q.records(t))
	}
}

// A copy whose size no manifest claims is already refused, so a finding adds no problem to that of
// the check.
func TestFindingOfAWrongSize(t *testing.T) {
	q := quarantine(t, false)
	if err := os.Truncate(q.file, 3); err != nil {
		t.Fatal(err)
	}
	if q.finding(t, q.stamp(t), "short") {
		t.Error("it is news")
	}
	repo, layout := q.repository(t)
	if _, err := repo.Blob(t.Context(), q.digest); err == nil {
		t.Error("it is served")
	}
	if p, ok, err := q.tree.Snapshot().QuarantineProblem(t.Context(), "app", layout, q.digest); ok || err != nil {
		t.Errorf("%v, %v", p, err)
	}
	// A finding about a missing copy is news, because nothing else has reported it.
	if err := os.Remove(q.file); err != nil {
		t.Fatal(err)
	}
	if !q.finding(t, "before it was removed", "rotten") {
		t.Error("a finding about a missing file is not news")
	}
	if p, ok, err := q.tree.Snapshot().QuarantineProblem(t.Context(), "app", layout, q.digest); ok || err != nil {
		t.Errorf("a missing file: %v, %v", p, err)
	}
}

// After the caller's context has ended, nothing is recorded, and each method returns its error.
func TestQuarantineWithEndedContext(t *testing.T) {
	q := quarantine(t, false)
	repo, layout := q.repository(t)
	stamp := q.stamp(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if news, err := repo.Quarantine(gone, layout, q.digest, "another", "rotten"); news || !errors.Is(err, context.Canceled) {
		t.Errorf("Quarantine: %v, %v", news, err)
	}
	if s, err := layout.Stamp(gone, q.digest); s != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("Stamp: %q, %v", s, err)
	}
	if p, ok, err := q.tree.Snapshot().QuarantineProblem(gone, "app", layout, q.digest); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("QuarantineProblem: %v, %v", p, err)
	}
	if q.finding(t, stamp, "rotten") || len(q.records(t)) != 1 {
		t.Error("the canceled call has replaced the first finding")
	}
}

// A problem names a tag that leads to the blob. It is listed once, even if a check has found the copy
// in quarantine.
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
			t.Errorf("%+v", all)
		}
		if p, ok, err := tree.Snapshot().QuarantineProblem(t.Context(), "elsewhere", layout, d); ok || err != nil {
			t.Errorf("of a repository that does not exist: %v, %v", p, err)
		}
		if p, ok, err := tree.Snapshot().QuarantineProblem(t.Context(), "app", layout, digest.FromString("x")); ok || err != nil {
			t.Errorf("of a blob without a finding: %v, %v", p, err)
		}
		if _, err := tree.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// If only the name of a record is known, the first request for its blob rewrites the record. That
// request is refused, too, and the next process can read the record.
func TestRecordIsWrittenAgain(t *testing.T) {
	q := quarantine(t, false)
	if err := os.Truncate(q.records(t)[0], 0); err != nil {
		t.Fatal(err)
	}
	q.restart(t)
	repo, _ := q.repository(t)
	if _, err := repo.Blob(t.Context(), q.digest); err == nil {
		t.Error("the first request is answered")
	}
	if news := q.finding(t, q.stamp(t), "rotten"); !news { // the reason was not known
		t.Error("a new reason is not news")
	}
	q.restart(t)
	if quarantineProblem(q.tree, "") || !q.refused(t) {
		t.Errorf("%v", problemsOf(q.tree.Snapshot()))
	}
	repo, layout := q.repository(t)
	repo.Release(layout, q.digest, q.stamp(t))
	if q.refused(t) || len(q.records(t)) != 0 {
		t.Errorf("records after the verification: %v", q.records(t))
	}
}
