package layoutstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// While a blob is quarantined, other blobs are served, even if some records cannot be read.
func TestQuarantineAffectsNoOtherBlobs(t *testing.T) {
	for _, unreadable := range []bool{false, true} {
		tree, layers, _ := openCounting(t, 3)
		if unreadable {
			q := quarantine(t, false)
			if err := os.Truncate(q.records(t)[0], 0); err != nil {
				t.Fatal(err)
			}
			options := q.options
			options.Sources = []string{tree.Snapshot().Sources()[0].Path}
			tree = openWith(t, options)
		}
		refuse(t, tree, layers[1])
		repo, err := tree.Snapshot().At("app")
		layouttest.Try(t, err)
		for i, d := range layers {
			if _, err := repo.Blob(t.Context(), d); (err != nil) != (i == 1) {
				t.Errorf("unreadable record: %v: Blob(layer %d): got error %v, want one only for layer 1", unreadable, i, err)
			}
		}
	}
}

// If two processes found a copy damaged, before and after its file changed, there are two records.
// The next finding replaces both.
func TestFindingReplacesTwoStates(t *testing.T) {
	q := quarantine(t, false)
	other := q
	other.options.QuarantineDir = filepath.Join(t.TempDir(), "quarantine")
	other.restart(t)
	if !other.finding(t, "an earlier state", "rotten") {
		t.Error("finding of the other process: got no news, want news")
	}
	record := other.records(t)[0]
	layouttest.WriteFile(t, filepath.Join(q.options.QuarantineDir, filepath.Base(record)), layouttest.ReadFile(t, record))
	q.restart(t)
	if len(q.records(t)) != 2 || !q.refused(t) {
		t.Fatalf("got the records %v, want two, and a refused blob", q.records(t))
	}
	if !q.finding(t, q.stamp(t), "rotten") || len(q.records(t)) != 1 {
		t.Errorf("finding after two records: want news and 1 record, got the records %v", q.records(t))
	}
	q.restart(t)
	if !q.refused(t) {
		t.Error("the quarantined blob is served, want a refusal")
	}
}

// Blobs are refused whether their records can be read or not.
func TestReadableAndUnreadableRecords(t *testing.T) {
	tree, layers, _ := openCounting(t, 2)
	options := layoutstore.Options{Sources: []string{tree.Snapshot().Sources()[0].Path}, Roots: []string{""}, Indexes: []string{}, QuarantineDir: t.TempDir()}
	tree = openWith(t, options)
	refuse(t, tree, layers[0])
	records, err := os.ReadDir(options.QuarantineDir)
	layouttest.Try(t, err)
	refuse(t, tree, layers[1])
	layouttest.Try(t, os.Truncate(filepath.Join(options.QuarantineDir, records[0].Name()), 0))
	tree = openWith(t, options)
	repo, err := tree.Snapshot().At("app")
	layouttest.Try(t, err)
	for _, d := range []digest.Digest{layers[1], layers[0]} {
		if _, err := repo.Blob(t.Context(), d); err == nil {
			t.Errorf("Blob(%s), which is in quarantine: got no error, want one", d)
		}
	}
}

// A record that was truncated in its reason counts as damaged, but its blob is still refused.
func TestBlobWithTruncatedRecordIsRefused(t *testing.T) {
	q := quarantine(t, false)
	record := q.records(t)[0]
	content := layouttest.ReadFile(t, record)
	layouttest.WriteFile(t, record, content[:len(content)-4])
	q.restart(t)
	if !quarantineProblem(q.tree, "its content is damaged") {
		t.Errorf("got the problems %v, want one about a damaged record", problemsOf(q.tree.Snapshot()))
	}
	repo, _ := q.repository(t)
	if _, err := repo.Blob(t.Context(), q.digest); err == nil {
		t.Error("the quarantined blob is served, want a refusal")
	}
	// The request has identified the blob of the record, so SaveCaches writes the record again.
	if err := q.tree.SaveCaches(t.Context()); err != nil {
		t.Fatal(err)
	}
	q.restart(t)
	if quarantineProblem(q.tree, "") {
		t.Errorf("after the record was written again: got the problems %v, want none of the quarantine", problemsOf(q.tree.Snapshot()))
	}
}

// A finding about a blob to which no manifest refers is news. Its problem has no tag.
func TestFindingOfAnUnclaimedBlob(t *testing.T) {
	built := layouttest.New(t, t.TempDir())
	l := built.Layout("app")
	l.Tag(l.Image(layouttest.Image{Name: "other"}), "v1")
	stray := l.Blob("", []byte("stray")).Digest
	l.Write()
	tree := openWith(t, layoutstore.Options{Sources: []string{built.Dir()}, Roots: []string{""}, Indexes: []string{}})
	layouttest.Try(t, tree.Snapshot().Check(t.Context(), 1))
	if p := refuse(t, tree, stray); p.Digest != stray || len(p.Tags) > 0 || p.Kind != layoutstore.Damaged {
		t.Errorf("problem of a blob that no manifest claims: got %+v, want the kind damaged and no tag", p)
	}
}

// After the file of a copy has changed, neither the quarantine nor a check reports the copy.
func TestChangedFileHasNoProblem(t *testing.T) {
	q := quarantine(t, false)
	_, layout := q.repository(t)
	layouttest.Try(t, os.Chtimes(q.file, time.Time{}, time.Unix(1, 0)))
	if p, ok, err := q.tree.Snapshot().QuarantineProblem(t.Context(), "app", layout, q.digest); ok || err != nil {
		t.Errorf("QuarantineProblem(copy whose file has changed): got the problem %+v and error %v, want none", p, err)
	}
	q = quarantine(t, false)
	layouttest.Try(t, os.Chtimes(q.file, time.Time{}, time.Unix(1, 0)))
	if all := problemsOf(q.tree.Snapshot()); len(all) > 0 {
		t.Errorf("after the file has changed: got the problems %+v, want none", all)
	}
}

// Quarantined copies that a check has also found are listed only once, sorted by digest.
func TestQuarantineIsListedOnceInOrder(t *testing.T) {
	built := layouttest.New(t, t.TempDir())
	l := built.Layout("app")
	var layers [][]byte
	for i := range 12 {
		layers = append(layers, fmt.Append(nil, "layer ", i))
	}
	l.Tag(l.Image(layouttest.Image{Layers: layers}), "v1")
	l.Write()
	options := layoutstore.Options{Sources: []string{built.Dir()}, Roots: []string{""}, Indexes: []string{}, QuarantineDir: filepath.Join(t.TempDir(), "quarantine")}
	tree := openWith(t, options)
	for _, layer := range layers {
		refuse(t, tree, digest.FromBytes(layer))
	}
	inOrder := func(when string) {
		t.Helper()
		var listed []digest.Digest
		for _, p := range problemsOf(tree.Snapshot()) {
			listed = append(listed, p.Digest)
		}
		if len(listed) != len(layers) || !slices.IsSorted(listed) {
			t.Errorf("%s: got problems of %d copies, want %d; sorted: %v, want true", when, len(listed), len(layers), slices.IsSorted(listed))
		}
	}
	inOrder("found")
	tree = openWith(t, options)
	layouttest.Try(t, tree.Snapshot().Check(t.Context(), 1))
	inOrder("by a later process, after a check")
}

// Stamp returns an error if the archive of a copy is missing.
func TestStampOfMissingArchive(t *testing.T) {
	q := quarantine(t, true)
	_, layout := q.repository(t)
	layouttest.Try(t, os.Remove(q.file))
	if stamp, err := layout.Stamp(t.Context(), q.digest); stamp != "" || err == nil {
		t.Errorf("Stamp(blob in a missing archive): got %q and the error %v, want an empty stamp and an error", stamp, err)
	}
}
