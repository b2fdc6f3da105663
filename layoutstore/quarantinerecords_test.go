package layoutstore

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Every path can be kept, and one that is too long for a record holds by its name.
func TestRecordsRoundTrip(t *testing.T) {
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
				t.Errorf("a long path: %v, %v", found, unread)
			}
			continue
		}
		if len(v.reason) > 4<<10 {
			v.reason = v.reason[:4<<10]
		}
		if len(unread) > 0 || !slices.Equal(found, []record{v}) {
			t.Errorf("%.20q: %v, %v", path, found, unread)
		}
	}
}

// The directory has a limit. What does not fit is said, and kept as soon as it does.
func TestRecordsLimit(t *testing.T) {
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
		t.Errorf("%v", all)
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		r.queueRemove(e.Name())
		delete(records, e.Name())
	}
	r.sync()
	if all := r.problems(); len(all) > 0 {
		t.Errorf("%v", all)
	}
	found, _ := newRecords(r.dir).sync()
	if len(found) != 2 || !slices.Contains(slices.Collect(maps.Values(records)), found[0]) {
		t.Errorf("%v", found)
	}
}

// What is in the directory beside records is left alone.
func TestRecordsOnly(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".tmp-123", "README", strings.Repeat("x", 64), strings.Repeat("x", 60) + ".quarantine"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if found, unread := newRecords(dir).sync(); len(found)+len(unread) > 0 {
		t.Errorf("%v, %v", found, unread)
	}
}
