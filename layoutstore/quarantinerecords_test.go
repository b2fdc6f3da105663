package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// A record may have any path. If the path is too long, the file is empty, and only its name counts.
func TestRecordsAreReadAsWritten(t *testing.T) {
	d := digest.FromString("x")
	for _, path := range []string{"/a", "/with space", "/new\nline", "/\xff\xfe", `/quote"\`, "/%q%s", "/" + strings.Repeat("ü", 2000), "/" + strings.Repeat("x", maxRecord)} {
		v := record{place{path, path}, d, "1 2 3;", "checksum mismatch: content is " + path}
		dir := filepath.Join(t.TempDir(), "quarantine")
		r := newRecords(dir)
		r.queueWrite(v)
		r.sync()
		found, unread := newRecords(dir).sync()
		if len(v.at.path) > maxRecord {
			if _, ok := unread[v.name()]; !ok || len(found) > 0 {
				t.Errorf("record with a long path: got the records %v and the unreadable records %v, want only one unreadable record", found, unread)
			}
			continue
		}
		if len(v.reason) > 4<<10 {
			v.reason = v.reason[:4<<10]
		}
		if len(unread) > 0 || !slices.Equal(found, []record{v}) {
			t.Errorf("path %.20q: got the records %v and the unreadable records %v, want only the written record", path, found, unread)
		}
	}
}

// Too many records are a problem. After some were removed, the new records are written.
func TestRecordsBeyondTheLimit(t *testing.T) {
	r := newRecords(filepath.Join(t.TempDir(), "quarantine"))
	r.limit = 3
	records := map[string]record{}
	for i := range 5 {
		v := record{place{"/a", ""}, digest.FromString(fmt.Sprint(i)), "1", "rotten"}
		records[v.name()] = v
		r.queueWrite(v)
	}
	r.sync()
	if all := r.problems(); len(all) != 1 || !strings.Contains(all[0].Reason, "3 records, the limit") {
		t.Errorf("got the problems %v, want one that says that 3 records are the limit", all)
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil || len(entries) != 3 {
		t.Fatalf("quarantine directory: got the files %v and the error %v, want 3 files", entries, err)
	}
	for _, e := range entries {
		r.queueRemove(e.Name())
		delete(records, e.Name())
	}
	r.sync()
	if all := r.problems(); len(all) > 0 {
		t.Errorf("after records were removed: got the problems %v, want none", all)
	}
	found, _ := newRecords(r.dir).sync()
	if len(found) != 2 || !slices.Contains(slices.Collect(maps.Values(records)), found[0]) {
		t.Errorf("got the records %v, want the two that did not fit at first", found)
	}
}

// Files in the directory that are no records are ignored, and are not removed.
func TestOtherFilesAreNotRecords(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".tmp-123", "README", strings.Repeat("x", 64), strings.Repeat("x", 60) + ".quarantine",
		strings.Repeat("x", 65) + ".quarantine", strings.Repeat("x", 64) + ".quarantinf", "." + strings.Repeat("x", 63) + ".quarantine"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if found, unread := newRecords(dir).sync(); len(found)+len(unread) > 0 {
		t.Errorf("got the records %v and the unreadable records %v, want none", found, unread)
	}
}

// A record of the maximum length is written completely. For a longer record, the file is empty, and
// only its name counts.
func TestLongestRecord(t *testing.T) {
	d := digest.FromString("x")
	form := func(path string) record { return record{place{path, ""}, d, "1", "rotten"} }
	length := func(v record) int {
		return len(fmt.Sprintf(recordForm, v.at.path, v.at.entry, string(v.digest), v.stamp, v.reason))
	}
	longest := "/" + strings.Repeat("x", maxRecord-length(form("/")))
	for path, readable := range map[string]bool{longest: true, longest + "x": false} {
		v := form(path)
		dir := filepath.Join(t.TempDir(), "quarantine")
		r := newRecords(dir)
		r.queueWrite(v)
		r.sync()
		found, unread := newRecords(dir).sync()
		if readable != slices.Equal(found, []record{v}) || readable == (len(unread) == 1) {
			t.Errorf("record of %d bytes: got %d records and the unreadable records %v, want one record altogether", length(v), len(found), unread)
		}
		// The reader would truncate a longer file, and so read a different record.
		info, err := os.Stat(filepath.Join(dir, v.name()))
		if err != nil {
			t.Fatal(err)
		}
		if readable && info.Size() != maxRecord || !readable && info.Size() != 0 {
			t.Errorf("file of the record: got %v bytes, want the maximum, or 0 if the record is too long", info.Size())
		}
	}
}

// If a record cannot be removed, this is a problem. A later try removes it, unless the record was
// queued for writing in between.
func TestUnremovableRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "quarantine")
	for _, again := range []bool{false, true} {
		v := record{place{"/a", ""}, digest.FromString("x"), "1", "rotten"}
		r := newRecords(dir)
		r.sync()
		file := filepath.Join(dir, v.name())
		if err := os.MkdirAll(filepath.Join(file, "not empty"), 0o755); err != nil {
			t.Fatal(err)
		}
		r.queueRemove(v.name())
		r.sync()
		if all := r.problems(); len(all) != 1 || !strings.Contains(all[0].Reason, "cannot be removed") {
			t.Errorf("got the problems %v, want one about a record that cannot be removed", all)
		}
		if again {
			r.queueWrite(v)
		}
		if err := os.Remove(filepath.Join(file, "not empty")); err != nil {
			t.Fatal(err)
		}
		if again {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		r.sync()
		if _, err := os.Stat(file); (err == nil) != again || len(r.problems()) > 0 {
			t.Errorf("queued again: %v: Stat of the record returned the error %v, problems %v; want the file only if queued again, and no problems", again, err, r.problems())
		}
		os.RemoveAll(dir)
	}
}

// If a record is queued for both writing and removal, the last call counts. Existing records count
// towards the limit.
func TestQueuedWriteAndRemoval(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "quarantine")
	v := record{place{"/a", ""}, digest.FromString("x"), "1", "rotten"}
	r := newRecords(dir)
	r.queueWrite(v)
	r.queueRemove(v.name())
	r.sync()
	if found, _ := newRecords(dir).sync(); len(found) > 0 {
		t.Errorf("record queued for writing, then for removal: got the records %v, want none", found)
	}
	r.queueRemove(v.name())
	r.queueWrite(v)
	r.sync()
	r.sync() // repeats nothing
	next := newRecords(dir)
	if found, _ := next.sync(); !slices.Equal(found, []record{v}) {
		t.Errorf("record queued for removal, then for writing: got the records %v, want this record", found)
	}
	if err := os.WriteFile(filepath.Join(dir, strings.Repeat("x", 64)+recordSuffix), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	next = newRecords(dir)
	next.limit = 2
	next.sync()
	next.queueWrite(record{v.at, v.digest, "2", "rotten"})
	next.sync()
	if all := next.problems(); len(all) != 1 || !strings.Contains(all[0].Reason, "2 records, the limit") {
		t.Errorf("got the problems %v, want one that says that 2 records are the limit", all)
	}
}

// If another process later removes or writes a record, this process does not undo the change.
func TestRecordsOfOtherProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "quarantine")
	v := record{place{"/a", ""}, digest.FromString("x"), "1", "rotten"}
	file := filepath.Join(dir, v.name())
	r, other := newRecords(dir), newRecords(dir)
	r.queueWrite(v)
	r.sync()
	other.queueRemove(v.name())
	other.sync()
	r.sync()
	if _, err := os.Stat(file); err == nil {
		t.Error("record that another process removed: the file exists, want none")
	}
	r.queueRemove(v.name())
	r.sync()
	other.queueWrite(v)
	other.sync()
	r.sync()
	if _, err := os.Stat(file); err != nil {
		t.Errorf("record that another process wrote: Stat returned the error %v, want none", err)
	}
}

// If the directory cannot be created, this is a problem. A later try creates it.
func TestUnwritableRecordsDirectory(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "cache")
	r := newRecords(filepath.Join(parent, "quarantine"))
	v := record{place{"/a", ""}, digest.FromString("x"), "1", "rotten"}
	r.sync()
	layouttest.WriteFile(t, parent, "")
	r.queueWrite(v)
	r.sync()
	if all := r.problems(); len(all) != 1 || !strings.Contains(all[0].Reason, "cannot be saved") {
		t.Errorf("got the problems %v, want one about a quarantine that cannot be saved", all)
	}
	layouttest.Try(t, os.Remove(parent))
	layouttest.Try(t, os.MkdirAll(filepath.Join(r.dir, v.name(), "not empty"), 0o755)) // a directory at the path of the record, so that the record cannot be written
	r.sync()
	if all := r.problems(); len(all) != 1 || !strings.Contains(all[0].Reason, "cannot be saved") {
		t.Errorf("got the problems %v, want one about a quarantine that cannot be saved", all)
	}
	layouttest.Try(t, os.RemoveAll(filepath.Join(r.dir, v.name())))
	r.sync()
	if found, _ := newRecords(r.dir).sync(); !slices.Equal(found, []record{v}) || len(r.problems()) > 0 {
		t.Errorf("got the records %v and the problems %v, want the queued record and no problems", found, r.problems())
	}
}

type missingFile struct{}

func (missingFile) Open(context.Context) (*os.File, error) { return nil, fs.ErrPermission }
func (missingFile) String() string                         { return "missing" }

// A copy whose file cannot be opened is still refused, even if its record cannot be read.
// removeOutdated does nothing if the reasons differ.
func TestUnreadableCopyStaysQuarantined(t *testing.T) {
	d := digest.FromString("x")
	where := extent.List{{File: missingFile{}, Len: 1}}
	p := &indexedLayout{vol: unreadVolume{}, path: "app"}
	q := newQuarantine("")
	if reason, refused, err := q.checkCopy(t.Context(), p, d, where); refused || err != nil {
		t.Errorf("checkCopy in an empty quarantine: got reason %q and error %v, want no refusal and no error", reason, err)
	}
	q.unread = map[string]error{"x": errRecordDamaged}
	q.count.Add(1)
	if reason, refused, err := q.checkCopy(t.Context(), p, d, where); !refused || !strings.Contains(reason, "may be about it") || err != nil {
		t.Errorf("checkCopy with an unreadable record: got reason %q, refused %v, error %v; want a refusal because the record may be about the blob", reason, refused, err)
	}
	at := q.absolute(p.where())
	q.add(record{at, d, "1", "rotten"})
	if reason, refused, err := q.checkCopy(t.Context(), p, d, where); !refused || reason != "rotten" || err != nil {
		t.Errorf("checkCopy of a quarantined copy: got reason %q, refused %v, error %v; want the reason rotten, true and none", reason, refused, err)
	}
	if !q.mayRefuse(p, d) {
		t.Error("mayRefuse of a quarantined copy, with an unreadable record: got false, want true")
	}
	q.removeOutdated(at, d, reasons{"2": "rotten"})
	if reason, ok := q.reason(at, d); !ok || reason != "rotten" {
		t.Errorf("removeOutdated with different reasons: the copy has the reason %q, want rotten", reason)
	}
	q.removeOutdated(at, d, reasons{"1": "rotten"})
	if reason, ok := q.reason(at, d); ok {
		t.Errorf("removeOutdated with the same reasons: the copy still has the reason %q, want none", reason)
	}
}

// While a bucket is unreachable, a blob of a store in it counts as unreachable, not as damaged, although a record
// that cannot be read may be about it. A quarantined blob is still refused.
func TestUnreachableCopyIsNotRefused(t *testing.T) {
	s := buckettest.Start(t)
	s.Unreachable()
	d := digest.FromString("x")
	where := volume.StoredExtent(s.Open(t, "store"), bucket.Object{Key: "blob", Size: 1}, nil)
	p := &indexedLayout{vol: unreadVolume{}, path: "app"}
	q := newQuarantine("")
	q.unread = map[string]error{"x": errRecordDamaged}
	q.count.Add(1)
	if reason, refused, err := q.checkCopy(t.Context(), p, d, where); refused || !errors.Is(err, bucket.ErrUnreachable) {
		t.Errorf("checkCopy with an unreadable record: got reason %q, refused %v, error %v; want no refusal, and ErrUnreachable", reason, refused, err)
	}
	q.add(record{q.absolute(p.where()), d, "1", "rotten"})
	if reason, refused, err := q.checkCopy(t.Context(), p, d, where); !refused || reason != "rotten" || err != nil {
		t.Errorf("checkCopy of a quarantined copy: got reason %q, refused %v, error %v; want the reason rotten, true and none", reason, refused, err)
	}
}

// unreadVolume is a volume that has only a path.
type unreadVolume struct{ volume.Volume }

func (unreadVolume) Where(layout string) (path, entry string) { return "/source/" + layout, "" }
