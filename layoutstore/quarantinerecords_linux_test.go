package layoutstore_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// quarantineProblem reports whether a problem of the quarantine itself contains some words.
func quarantineProblem(tree *layoutstore.Tree, words string) bool {
	return slices.ContainsFunc(problemsOf(tree.Snapshot()), func(p layoutstore.Problem) bool {
		return p.Kind == layoutstore.Limited && strings.Contains(p.Reason, words)
	})
}

// A blob stays refused whatever happens to the content of its record: the record's name
// identifies it. Once the blob is known, it is listed like any other.
func TestDamagedRecord(t *testing.T) {
	for name, damage := range map[string]func(file string, data []byte) error{
		"empty": func(file string, _ []byte) error { return os.Truncate(file, 0) },
		"cut":   func(file string, data []byte) error { return os.WriteFile(file, data[:len(data)/2], 0o644) },
		"a flipped bit": func(file string, data []byte) error {
			data[40] ^= 1
			return os.WriteFile(file, data, 0o644)
		},
		"zeros":       func(file string, data []byte) error { return os.WriteFile(file, make([]byte, len(data)), 0o644) },
		"too long":    func(file string, data []byte) error { return os.Truncate(file, 1<<30) },
		"a directory": func(file string, _ []byte) error { return os.Remove(file) },
	} {
		for _, archive := range []bool{false, true} {
			q := quarantine(t, archive)
			records := q.records(t)
			if len(records) != 1 {
				t.Fatalf("%d records: %v", len(records), records)
			}
			if err := damage(records[0], layouttest.ReadFile(t, records[0])); err != nil {
				t.Fatal(err)
			}
			if name == "a directory" {
				if err := os.Mkdir(records[0], 0o755); err != nil {
					t.Fatal(err)
				}
			}
			q.restart(t)
			if !quarantineProblem(q.tree, "the record of a quarantined blob cannot be read") {
				t.Errorf("%s: no problem tells of it: %v", name, problemsOf(q.tree.Snapshot()))
			}
			if err := q.tree.Snapshot().Check(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			repo, layout := q.repository(t)
			if _, err := repo.Blob(t.Context(), q.digest); err == nil {
				t.Errorf("archive %v, %s: it is served again", archive, name)
			}
			if quarantineProblem(q.tree, "") || !slices.ContainsFunc(problemsOf(q.tree.Snapshot()), func(p layoutstore.Problem) bool { return p.Digest == q.digest && p.Kind == layoutstore.Damaged }) {
				t.Errorf("%s: %v, want the blob alone", name, problemsOf(q.tree.Snapshot()))
			}
			if name == "a directory" {
				continue // which nobody removes
			}
			stamp, err := layout.Stamp(t.Context(), q.digest)
			if err != nil {
				t.Fatal(err)
			}
			repo.Release(layout, q.digest, stamp)
			q.restart(t)
			if q.refused(t) || len(q.records(t)) > 0 {
				t.Errorf("%s: a proof does not lift it: %v", name, q.records(t))
			}
		}
	}
}

// A proof lifts the quarantine of a damaged record, even before anybody has requested the blob.
func TestReleaseWithDamagedRecord(t *testing.T) {
	q := quarantine(t, false)
	if err := os.Truncate(q.records(t)[0], 0); err != nil {
		t.Fatal(err)
	}
	q.restart(t)
	repo, layout := q.repository(t)
	stamp, err := layout.Stamp(t.Context(), q.digest)
	if err != nil {
		t.Fatal(err)
	}
	repo.Release(layout, q.digest, stamp)
	if q.refused(t) || quarantineProblem(q.tree, "") || len(q.records(t)) > 0 {
		t.Errorf("it is not lifted: %v, %v", problemsOf(q.tree.Snapshot()), q.records(t))
	}
}

// A quarantine that cannot be read does not count as empty: a problem reports it, and
// its records take effect once they can be read.
func TestUnreadableQuarantine(t *testing.T) {
	q := quarantine(t, false)
	dir := q.options.QuarantineDir
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	q.restart(t)
	if !quarantineProblem(q.tree, "the quarantine cannot be read") {
		t.Errorf("no problem tells of it: %v", problemsOf(q.tree.Snapshot()))
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := q.tree.SaveCaches(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !q.refused(t) || quarantineProblem(q.tree, "") {
		t.Errorf("it is served: %v", problemsOf(q.tree.Snapshot()))
	}
}

// A record that cannot be written now is written later; until then a problem says so. A
// removed directory is created again.
func TestRecordsAreWrittenLater(t *testing.T) {
	q := quarantine(t, false)
	cache := filepath.Dir(q.options.QuarantineDir)
	if err := os.RemoveAll(cache); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cache, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	repo, layout := q.repository(t)
	if err := os.Chtimes(q.file, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	stamp, err := layout.Stamp(t.Context(), q.digest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Quarantine(t.Context(), layout, q.digest, stamp, "rotten"); err != nil {
		t.Fatal(err)
	}
	if !q.refused(t) || !quarantineProblem(q.tree, "the quarantine cannot be saved") {
		t.Errorf("no problem tells of it: %v", problemsOf(q.tree.Snapshot()))
	}
	if err := os.Remove(cache); err != nil {
		t.Fatal(err)
	}
	if err := q.tree.SaveCaches(t.Context()); err != nil {
		t.Fatal(err)
	}
	if quarantineProblem(q.tree, "") {
		t.Errorf("%v", problemsOf(q.tree.Snapshot()))
	}
	q.restart(t)
	if !q.refused(t) {
		t.Error("it is served after a restart")
	}
	if err := os.RemoveAll(cache); err != nil {
		t.Fatal(err)
	}
	repo, layout = q.repository(t)
	if _, err := repo.Quarantine(t.Context(), layout, q.digest, stamp, "rotten"); err != nil { // by the next pass of the scrub
		t.Fatal(err)
	}
	q.restart(t)
	if !q.refused(t) {
		t.Error("it is served after a restart, as its record was taken away")
	}
}

// Two servers share a quarantine. The one that knows an older state of the file does
// not remove the other's record of the newer one.
func TestSharedQuarantine(t *testing.T) {
	q := quarantine(t, false)
	other := q
	other.restart(t)
	if !other.refused(t) {
		t.Fatal("the other one serves it")
	}
	if err := os.Chtimes(q.file, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	repo, layout := q.repository(t)
	stamp, err := layout.Stamp(t.Context(), q.digest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Quarantine(t.Context(), layout, q.digest, stamp, "rotten"); err != nil {
		t.Fatal(err)
	}
	if other.refused(t) {
		t.Fatal("to the other one the file is a new one")
	}
	if err := other.tree.SaveCaches(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(q.records(t)); n != 1 {
		t.Errorf("%d records", n)
	}
	q.restart(t)
	if !q.refused(t) {
		t.Error("it is served after a restart")
	}
}

// If the same source is named relative to another directory, its records are found.
func TestQuarantineOfARelativeSource(t *testing.T) {
	q := quarantine(t, false)
	source := q.options.Sources[0]
	t.Chdir(filepath.Dir(source))
	q.options.Sources = []string{filepath.Base(source)}
	q.restart(t)
	if !q.refused(t) {
		t.Error("it is served")
	}
}
