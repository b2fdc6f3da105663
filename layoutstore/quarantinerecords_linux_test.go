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

// quarantineProblem reports whether a problem of the quarantine has a reason that contains the text words.
func quarantineProblem(tree *layoutstore.Tree, words string) bool {
	return slices.ContainsFunc(problemsOf(tree.Snapshot()), func(p layoutstore.Problem) bool {
		return p.Kind == layoutstore.Limited && strings.Contains(p.Reason, words)
	})
}

// If the content of a record is damaged, its blob is still refused, because the name of the record
// identifies it. After a request for the blob, the blob is the only problem.
func TestBlobWithDamagedRecordIsRefused(t *testing.T) {
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
				t.Fatalf("got %d records, want 1: %v", len(records), records)
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
				t.Errorf("%s: want a problem of the damaged record, got the problems %v", name, problemsOf(q.tree.Snapshot()))
			}
			if err := q.tree.Snapshot().Check(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			repo, layout := q.repository(t)
			if _, err := repo.Blob(t.Context(), q.digest); err == nil {
				t.Errorf("archive %v, %s: Blob with a damaged record: got no error, want one", archive, name)
			}
			if quarantineProblem(q.tree, "") || !slices.ContainsFunc(problemsOf(q.tree.Snapshot()), func(p layoutstore.Problem) bool { return p.Digest == q.digest && p.Kind == layoutstore.Damaged }) {
				t.Errorf("%s: got problems %v, want only that of the blob", name, problemsOf(q.tree.Snapshot()))
			}
			if name == "a directory" {
				continue // Release cannot remove a directory
			}
			stamp, err := layout.Stamp(t.Context(), q.digest)
			if err != nil {
				t.Fatal(err)
			}
			repo.Release(layout, q.digest, stamp)
			q.restart(t)
			if q.refused(t) || len(q.records(t)) > 0 {
				t.Errorf("%s, after Release: want the blob served and no records, got the records %v", name, q.records(t))
			}
		}
	}
}

// Release lifts a quarantine whose record is damaged, even before a request for the blob.
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
		t.Errorf("after Release: got the problems %v and the records %v, want none and the blob served", problemsOf(q.tree.Snapshot()), q.records(t))
	}
}

// A quarantine directory that cannot be read is a problem. Once it can be read, its records apply.
func TestUnreadableQuarantineIsReported(t *testing.T) {
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
		t.Errorf("want a refused blob and a problem of the quarantine, got the problems %v", problemsOf(q.tree.Snapshot()))
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
		t.Errorf("after the record can be read: want a refused blob and no problem of the quarantine, got the problems %v", problemsOf(q.tree.Snapshot()))
	}
}

// If a record cannot be written, this is a problem until a later try succeeds. If the directory was
// removed, it is created again.
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
		t.Errorf("want a refused blob and a problem of the quarantine, got the problems %v", problemsOf(q.tree.Snapshot()))
	}
	if err := os.Remove(cache); err != nil {
		t.Fatal(err)
	}
	if err := q.tree.SaveCaches(t.Context()); err != nil {
		t.Fatal(err)
	}
	if quarantineProblem(q.tree, "") {
		t.Errorf("after the record was written: got the problems %v, want none of the quarantine", problemsOf(q.tree.Snapshot()))
	}
	q.restart(t)
	if !q.refused(t) {
		t.Error("after a restart: the quarantined blob is served, want a refusal")
	}
	if err := os.RemoveAll(cache); err != nil {
		t.Fatal(err)
	}
	repo, layout = q.repository(t)
	if _, err := repo.Quarantine(t.Context(), layout, q.digest, stamp, "rotten"); err != nil { // as the next pass of a scrub would do
		t.Fatal(err)
	}
	q.restart(t)
	if !q.refused(t) {
		t.Error("after the record was removed and the blob found again: the blob is served, want a refusal")
	}
}

// Two servers share a quarantine. If one of them removes its record of an older state of the file,
// the record of the newer state remains.
func TestSharedQuarantine(t *testing.T) {
	q := quarantine(t, false)
	other := q
	other.restart(t)
	if !other.refused(t) {
		t.Fatal("the other server serves the quarantined blob, want a refusal")
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
		t.Fatal("the other server refuses the blob after its file has changed, want it served")
	}
	if err := other.tree.SaveCaches(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(q.records(t)); n != 1 {
		t.Errorf("got %d records, want 1: that of the newer state", n)
	}
	q.restart(t)
	if !q.refused(t) {
		t.Error("after a restart: the quarantined blob is served, want a refusal")
	}
}

// A process in another working directory also finds the records of a source with a relative path.
func TestQuarantineOfARelativeSource(t *testing.T) {
	q := quarantine(t, false)
	source := q.options.Sources[0]
	t.Chdir(filepath.Dir(source))
	q.options.Sources = []string{filepath.Base(source)}
	q.restart(t)
	if !q.refused(t) {
		t.Error("in a different working directory: the quarantined blob is served, want a refusal")
	}
}
