package journal_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func writeState(t testing.TB, dir string, s journal.State) {
	t.Helper()
	data, err := json.Marshal(s)
	layouttest.Try(t, err)
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, journal.StateFile), data, 0o644))
}

func readView(t testing.TB, dir string) *journal.View {
	t.Helper()
	v, err := journal.ReadView(dir)
	layouttest.Try(t, err)
	return v
}

// An import is visible once its generation is in the state. Only a journal of a later generation
// hides its import.
func TestViewDuringImport(t *testing.T) {
	for _, c := range []struct {
		state, journal uint64
		publishing     bool
	}{{4, 5, true}, {0, 1, true}, {5, 5, false}, {6, 5, false}} {
		dir := newStore(t)
		writeState(t, dir, journal.State{Format: journal.Format, Generation: c.state, Packed: []journal.Packed{{File: "was.tar", Name: "was-v1.tar", Generation: 3}}})
		write(t, dir, journal.Journal{Generation: c.journal,
			Packed: []journal.Packed{{File: "new.tar", Generation: 5}, {File: "was.tar", Generation: 5}, {File: "by-hand.tar", Generation: 5, There: true}},
			Indexes: []journal.IndexChange{{Path: "a", Old: []byte("old"), New: []byte("new")}, {Path: "b", New: []byte("first")},
				{Path: "c", Old: []byte{}, New: []byte("x")}, {Path: "d", Old: []byte("last"), New: []byte("y")}}})
		v := readView(t, dir)
		if v.Publishing() != c.publishing || v.Hides("new.tar") != c.publishing {
			t.Errorf("%+v: Publishing() = %v, Hides(new.tar) = %v; want %v for both", c, v.Publishing(), v.Hides("new.tar"), c.publishing)
		}
		for _, archive := range []string{"was.tar", "by-hand.tar", "other.tar"} {
			if v.Hides(archive) {
				t.Errorf("%+v: Hides(%s) = true, want false", c, archive)
			}
		}
		for path, want := range map[string]struct {
			old string
			has bool // the layout had an index before the import
			ok  bool
		}{"a": {"old", true, true}, "b": {"", false, true}, "c": {"", true, true}, "d": {"last", true, true}, "e": {}} {
			checkOldIndex(t, v, path, want.old, want.has && c.publishing, want.ok && c.publishing)
		}
		if name, generation := v.PackedAs("was.tar"); name != "was-v1.tar" || generation != 3 {
			t.Errorf("archive was.tar: got the name %s and the generation %d, want was-v1.tar and 3", name, generation)
		}
		if name, generation := v.PackedAs("new.tar"); name != "new.tar" || generation != 0 {
			t.Errorf("archive new.tar: got the name %s and the generation %d, want new.tar and 0", name, generation)
		}
	}
}

func checkOldIndex(t *testing.T, v *journal.View, path, old string, has, changed bool) {
	t.Helper()
	where, ok := v.OldIndex(path)
	if ok != changed || (where != nil) != has {
		t.Errorf("OldIndex(%s): has an index = %v, changed = %v; want has an index = %v, changed = %v", path, where != nil, ok, has, changed)
		return
	}
	if !has {
		return
	}
	if data, err := where.ReadAll(t.Context()); err != nil || old != "" && string(data) != old {
		t.Errorf("OldIndex(%s): got the content %q and the error %v, want the old index and none", path, data, err)
	}
}

// A directory that is not a store has no view. If the files of a store cannot be read, ReadView fails.
func TestViewOfDirectoryWithoutStore(t *testing.T) {
	dir := newStore(t)
	file := filepath.Join(dir, "file")
	layouttest.Try(t, os.WriteFile(file, nil, 0o644))
	hidden := t.TempDir()
	layouttest.Try(t, os.WriteFile(filepath.Join(hidden, journal.Dir), nil, 0o644))
	for _, source := range []string{dir, file, filepath.Join(dir, "missing"), hidden} {
		if _, err := journal.ReadState(source); !errors.Is(err, journal.ErrNotStore) || !strings.Contains(err.Error(), source) {
			t.Errorf("ReadState(%s): got the error %v, want ErrNotStore with this path", source, err)
		}
		v, err := journal.ReadView(source)
		if v != nil || err != nil {
			t.Errorf("view of %s: got %v and the error %v, want nil and none", source, v, err)
		}
		if name, generation := v.PackedAs("a.tar"); name != "a.tar" || generation != 0 || v.Publishing() || v.Hides("a.tar") {
			t.Errorf("view of %s: the archive a.tar has the name %s and the generation %d, want a.tar and 0", source, name, generation)
		}
		if where, ok := v.OldIndex("a"); where != nil || ok {
			t.Errorf("view of %s: OldIndex = %v, want no index and ok = false", source, where)
		}
	}
	writeState(t, dir, journal.State{Format: journal.Format})
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, journal.File), []byte("{}"), 0o644))
	if _, err := journal.ReadView(dir); err == nil || !strings.Contains(err.Error(), journal.File) {
		t.Errorf("ReadView(malformed journal): got the error %v, want one that names the journal", err)
	}
	for _, bad := range []string{"", "[", `{"format":2}`, `{"format":0}`} {
		layouttest.Try(t, os.WriteFile(filepath.Join(dir, journal.StateFile), []byte(bad), 0o644))
		if _, err := journal.ReadView(dir); err == nil || errors.Is(err, journal.ErrNotStore) || !strings.Contains(err.Error(), journal.StateFile) {
			t.Errorf("ReadView(state %q): got the error %v, want one that names the state, other than ErrNotStore", bad, err)
		}
	}
	for _, name := range []string{journal.StateFile, journal.File} {
		layouttest.Try(t, os.RemoveAll(filepath.Join(dir, name)))
		layouttest.Try(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	if _, err := journal.ReadState(dir); err == nil || errors.Is(err, journal.ErrNotStore) {
		t.Errorf("ReadState(directory as the state): got the error %v, want one other than ErrNotStore", err)
	}
	if j, err := journal.Read(dir); err == nil {
		t.Errorf("Read(directory as the journal) = %v, want an error", j)
	}
}

// Readers see an archive that a prune has retired. They do not see an archive that a prune is removing.
func TestViewOfRetiredAndDroppedArchives(t *testing.T) {
	dir := newStore(t)
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	writeState(t, dir, journal.State{Format: journal.Format, Generation: 1, Packed: []journal.Packed{
		{File: "stays.tar"}, {File: "retired.tar", Retired: &at}, {File: "dropped.tar", Retired: &at, Dropped: true}}})
	v := readView(t, dir)
	for _, c := range []struct {
		file            string
		retired, hidden bool
	}{{"stays.tar", false, false}, {"retired.tar", true, false}, {"dropped.tar", true, true}, {"other.tar", false, false}} {
		if v.IsRetired(c.file) != c.retired || v.Hides(c.file) != c.hidden {
			t.Errorf("archive %s: IsRetired = %v, Hides = %v; want %v, %v", c.file, v.IsRetired(c.file), v.Hides(c.file), c.retired, c.hidden)
		}
	}
	if none := (*journal.View)(nil); none.IsRetired("retired.tar") {
		t.Error("IsRetired in a source that is not a store: got true, want false")
	}
}

// Two views are the same until the state or the journal changes.
func TestSameViews(t *testing.T) {
	dir := newStore(t)
	var none *journal.View
	writeState(t, dir, journal.State{Format: journal.Format, Generation: 1})
	idle := readView(t, dir)
	j := journal.Journal{Generation: 5, Indexes: []journal.IndexChange{{Path: "a", New: []byte("x")}}}
	write(t, dir, j)
	first := readView(t, dir)
	views := map[string]*journal.View{"no store": none, "idle": idle, "publishing": first}
	layouttest.Try(t, os.Chtimes(filepath.Join(dir, journal.File), time.Time{}, time.Unix(1, 0)))
	views["written later"] = readView(t, dir)
	j.Generation = 6
	write(t, dir, j)
	layouttest.Try(t, os.Chtimes(filepath.Join(dir, journal.File), time.Time{}, time.Unix(1, 0)))
	views["later generation"] = readView(t, dir)
	layouttest.Try(t, os.Rename(filepath.Join(dir, journal.File), filepath.Join(dir, "kept")))
	write(t, dir, j)
	layouttest.Try(t, os.Chtimes(filepath.Join(dir, journal.File), time.Time{}, time.Unix(1, 0)))
	views["another file"] = readView(t, dir)
	if !views["another file"].Same(readView(t, dir)) {
		t.Error("Same of two views without a change in between: got false, want true")
	}
	writeState(t, dir, journal.State{Format: journal.Format, Generation: 2})
	views["later state"] = readView(t, dir)
	layouttest.Try(t, os.Remove(filepath.Join(dir, journal.File)))
	views["later state, no import"] = readView(t, dir)
	for a, one := range views {
		for b, other := range views {
			if one.Same(other) != (a == b) {
				t.Errorf("views %q and %q: Same() = %v, want true only for the same view", a, b, one.Same(other))
			}
		}
	}
}

// Read refuses a journal if its header contradicts its size, or if the header contains an illegal path.
func TestMalformedJournalsAreRefused(t *testing.T) {
	dir := newStore(t)
	line := func(indexes string) string { return `{"format":1,"generation":5,"indexes":[` + indexes + `]}` + "\n" }
	for name, c := range map[string]struct{ raw, reason string }{
		"nothing":                                {"", "header is missing"},
		"no newline after the header":            {`{"format":1}`, "header is missing"},
		"not JSON":                               {"{\n", "JSON"},
		"a later format":                         {`{"format":2}` + "\n", "format 2"},
		"bytes that belong to no index":          {line("") + "x", "bytes"},
		"a journal shorter than its header says": {line(`{"path":"a","old":1,"new":2}`) + "ab", "bytes"},
		"a journal longer than its header says":  {line(`{"path":"a","old":-1,"new":2}`) + "abc", "bytes"},
		"a path that leads out of the store":     {line(`{"path":"../a","old":-1,"new":0}`), `"../a"`},
		"an old size below -1":                   {line(`{"path":"a","old":-2,"new":0}`), `"a"`},
		"a negative new size":                    {line(`{"path":"a","old":1,"new":-1}`), `"a"`},
		"an old size above the file size":        {line(`{"path":"a","old":9000,"new":0},{"path":"b","old":-1,"new":0}`), `"a"`},
		"a new size above the file size":         {line(`{"path":"a","old":-1,"new":9000},{"path":"b","old":-1,"new":0}`), `"a"`},
		"sizes whose sum is above the file size": {line(`{"path":"a","old":60,"new":60},{"path":"b","old":60,"new":60}`), "bytes"},
	} {
		layouttest.Try(t, os.WriteFile(filepath.Join(dir, journal.File), []byte(c.raw), 0o644))
		if j, err := journal.Read(dir); err == nil || !strings.Contains(err.Error(), c.reason) || !strings.Contains(err.Error(), journal.File) {
			t.Errorf("%s: got the journal %+v and the error %v, want an error that contains %q", name, j, err, c.reason)
		}
	}
}

// A header may be longer than the buffer with which it is read.
func TestReadLongJournalHeader(t *testing.T) {
	dir := newStore(t)
	j := journal.Journal{Generation: 1}
	for range 5000 {
		j.Packed = append(j.Packed, journal.Packed{File: "some-module-v1.2.3.tar"})
	}
	j.Indexes = []journal.IndexChange{{Path: "a", Old: []byte("old"), New: []byte("new")}}
	write(t, dir, j)
	got, err := journal.Read(dir)
	if err != nil || len(got.Packed) != 5000 {
		t.Fatal(err)
	}
	if all := readBack(t, got); string(all[0].Old) != "old" || string(all[0].New) != "new" {
		t.Errorf("got the indexes %+v, want the old and the new content", all)
	}
}

// A header may end exactly at the end of the read buffer, so that the newline comes with the next read.
func TestHeaderFillsReadBuffer(t *testing.T) {
	dir := newStore(t)
	for _, n := range []int{64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10} {
		head := `{"format":1,"generation":7,"indexes":[{"path":"a","old":-1,"new":3}]}`
		raw := head + strings.Repeat(" ", n-len(head)) + "\nnew"
		layouttest.Try(t, os.WriteFile(filepath.Join(dir, journal.File), []byte(raw), 0o644))
		j, err := journal.Read(dir)
		if err != nil || j.Generation != 7 {
			t.Fatalf("header of %d bytes: Read = %+v, error %v; want generation 7 and no error", n, j, err)
		}
		if fresh, err := j.Indexes[0].NewBytes(t.Context()); string(fresh) != "new" {
			t.Errorf("header of %d bytes: NewBytes = %q, error %v; want new", n, fresh, err)
		}
	}
}

// Once a journal is removed or replaced, reading its indexes fails with ErrStale.
func TestIndexesOfRemovedJournalAreStale(t *testing.T) {
	dir := newStore(t)
	j := journal.Journal{Generation: 5, Indexes: []journal.IndexChange{{Path: "a", Old: []byte("old"), New: []byte("new")}}}
	write(t, dir, j)
	got, err := journal.Read(dir)
	layouttest.Try(t, err)
	layouttest.Try(t, os.Rename(filepath.Join(dir, journal.File), filepath.Join(dir, "kept")))
	checkStale(t, got.Indexes[0])
	stopped := errors.New("stopped")
	ended, end := context.WithCancelCause(t.Context())
	end(stopped)
	if data, err := got.Indexes[0].NewBytes(ended); !errors.Is(err, stopped) || errors.Is(err, extent.ErrStale) {
		t.Errorf("NewBytes with an ended context: got %q and the error %v, want the cause of the context", data, err)
	}
	write(t, dir, j)
	checkStale(t, got.Indexes[0])
	// If a directory replaces the journal, reading an index fails with an error other than ErrStale.
	layouttest.Try(t, errors.Join(os.Remove(filepath.Join(dir, journal.File)), os.Mkdir(filepath.Join(dir, journal.File), 0o755)))
	if data, err := got.Indexes[0].NewBytes(t.Context()); err == nil || errors.Is(err, extent.ErrStale) {
		t.Errorf("NewBytes after a directory replaced the journal: got %q and the error %v, want one other than ErrStale", data, err)
	}
}

func checkStale(t *testing.T, c journal.IndexChange) {
	t.Helper()
	if data, err := c.OldBytes(t.Context()); !errors.Is(err, extent.ErrStale) {
		t.Errorf("OldBytes: got %q and the error %v, want ErrStale", data, err)
	}
	if data, err := c.NewBytes(t.Context()); !errors.Is(err, extent.ErrStale) {
		t.Errorf("NewBytes: got %q and the error %v, want ErrStale", data, err)
	}
}

// OldBytes and NewBytes also work for a change that was not read from a journal.
func TestBytesOfChangeInMemory(t *testing.T) {
	c := journal.IndexChange{Path: "a", Old: []byte("old"), New: []byte("new")}
	old, oldErr := c.OldBytes(t.Context())
	fresh, newErr := c.NewBytes(t.Context())
	if string(old) != "old" || string(fresh) != "new" || oldErr != nil || newErr != nil {
		t.Errorf("OldBytes = %q, error %v, and NewBytes = %q, error %v; want old and new, and no errors", old, oldErr, fresh, newErr)
	}
}

// brokenWriter is a writer whose first n writes succeed. All others fail.
type brokenWriter struct{ n int }

var errBroken = errors.New("broken")

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.n--; w.n < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestWriteToReturnsWriteErrors(t *testing.T) {
	j := journal.Journal{Indexes: []journal.IndexChange{{Path: "a", Old: []byte("old"), New: []byte("new")}, {Path: "b", New: []byte("x")}}}
	for n := range 5 {
		w := &brokenWriter{n: n}
		if _, err := j.WriteTo(w); !errors.Is(err, errBroken) {
			t.Errorf("failure after %d writes: got the error %v, want errBroken", n, err)
		}
		if w.n != -1 {
			t.Errorf("failure after %d writes: WriteTo called Write %d times after the error, want 0", n, -1-w.n)
		}
	}
}

// A journal distinguishes an empty index from a missing one.
func TestEmptyIndexIsNotMissing(t *testing.T) {
	dir := newStore(t)
	write(t, dir, journal.Journal{Generation: 1, Indexes: []journal.IndexChange{{Path: "a", Old: []byte{}, New: []byte("new")}}})
	got, err := journal.Read(dir)
	layouttest.Try(t, err)
	if all := readBack(t, got); all[0].Old == nil || len(all[0].Old) != 0 {
		t.Errorf("old index: got %v, want an empty list of bytes, not nil", all[0].Old)
	}
}

// ReadState refuses a state that is longer than the limit, instead of reading a part of it.
func TestStateTooLongIsRefused(t *testing.T) {
	dir := newStore(t)
	writeState(t, dir, journal.State{Format: journal.Format})
	if err := os.Truncate(filepath.Join(dir, journal.StateFile), journal.MaxFile+1); err != nil { // this makes a sparse file, which takes no space
		t.Fatal(err)
	}
	if _, err := journal.ReadState(dir); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("ReadState(state above the limit): got the error %v, want one that contains \"too large\"", err)
	}
}
