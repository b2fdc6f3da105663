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

// quarantineProblem reports whether a problem of the quarantine itself contains a text.
func quarantineProblem(tree *layoutstore.Tree, words string) bool {
	return slices.ContainsFunc(problemsOf(tree.Snapshot()), func(p layoutstore.Problem) bool {
		return p.Kind == layoutstore.Limited && strings.Contains(p.Reason, words)
	})
}

// A blob stays refused if the content of its record is damaged: the record's name identifies it.
// After a request for the blob, the blob is the only problem.
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
				t.Errorf("%s: no problem reports the record: %v", name, problemsOf(q.tree.Snapshot()))
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
				continue // Release removes no directory
			}
			stamp, err := layout.Stamp(t.Context(), q.digest)
			if err != nil {
				t.Fatal(err)
			}
			repo.Release(layout, q.digest, stamp)
			q.restart(t)
			if q.refused(t) || len(q.records(t)) > 0 {
				t.Errorf("%s: a verification does not lift the quarantine: %v", name, q.records(t))
			}
		}
	}
}

// Release lifts the quarantine of a damaged record, even before a request for the blob.
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
		t.Errorf("the quarantine is not lifted: %v, %v", problemsOf(q.tree.Snapshot()), q.records(t))
	}
}

// If a quarantine cannot be read, a problem reports that. Its records take effect once they can
// be read.
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
		t.Errorf("no problem reports it: %v", problemsOf(q.tree.Snapshot()))
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

// If a record cannot be written, a problem reports that until a later try succeeds. A removed
// directory is created again.
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
		t.Errorf("no problem reports it: %v", problemsOf(q.tree.Snapshot()))
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
	if _, err := repo.Quarantine(t.Context(), layout, q.digest, stamp, "rotten"); err != nil { // the next pass of the scrub
		t.Fatal(err)
	}
	q.restart(t)
	if !q.refused(t) {
		t.Error("it is served after a restart, because its record was removed")
	}
}

// Two servers share a quarantine. A server with an older state of the file does not remove the
// other server's record of the newer state.
func TestSharedQuarantine(t *testing.T) {
	q := quarantine(t, false)
	other := q
	other.restart(t)
	if !other.refused(t) {
		t.Fatal("the other server serves the blob")
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
		t.Fatal("the other server still refuses the changed file")
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

// The records of a source are found from another working directory, too.
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
