package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// newStore returns a directory in which tests can write a journal.
func newStore(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	layouttest.Try(t, os.Mkdir(filepath.Join(dir, journal.Dir), 0o755))
	return dir
}

func write(t testing.TB, dir string, j journal.Journal) {
	t.Helper()
	var b bytes.Buffer
	if _, err := j.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, journal.File), b.Bytes(), 0o644))
}

func TestReadJournal(t *testing.T) {
	dir := newStore(t)
	old, fresh := []byte("old"), []byte("new")
	write(t, dir, journal.Journal{Generation: 5,
		Packed:  []journal.Packed{{File: "new.tar", Name: "new.tar", Generation: 5}},
		Indexes: []journal.IndexChange{{Path: "a", Old: old, New: fresh}, {Path: "b", New: fresh}}})
	j, err := journal.Read(dir)
	layouttest.Try(t, err)
	got := readBack(t, j)
	if j.Generation != 5 || len(got) != 2 || !bytes.Equal(got[0].Old, old) || !bytes.Equal(got[0].New, fresh) || got[1].Old != nil {
		t.Errorf("got generation %d and the indexes %+v; want generation 5, and two indexes, the second without old content", j.Generation, got)
	}
	layouttest.Try(t, os.Remove(filepath.Join(dir, journal.File)))
	if j, err := journal.Read(dir); j != nil || err != nil {
		t.Errorf("Read without a journal: got %v and the error %v, want nil and none", j, err)
	}
}

func readBack(t testing.TB, j *journal.Journal) (all []journal.IndexChange) {
	t.Helper()
	for _, c := range j.Indexes {
		old, err := c.OldBytes(t.Context())
		layouttest.Try(t, err)
		fresh, err := c.NewBytes(t.Context())
		layouttest.Try(t, err)
		all = append(all, journal.IndexChange{Path: c.Path, Old: old, New: fresh})
	}
	return all
}

// holes is a file to which zeros are written as holes, so that they take no space.
type holes struct{ *os.File }

func (h holes) Write(p []byte) (int, error) {
	if len(bytes.Trim(p[:min(len(p), 1000)], "\x00")) > 0 {
		return h.File.Write(p)
	}
	_, err := h.Seek(int64(len(p)), io.SeekCurrent)
	return len(p), err
}

// A journal may be longer than MaxFile, because it contains all changed indexes. Each index can
// still be read.
func TestReadJournalOverOneGibibyte(t *testing.T) {
	dir := newStore(t)
	f, err := os.Create(filepath.Join(dir, journal.File))
	layouttest.Try(t, err)
	defer f.Close()
	long := make([]byte, journal.MaxIndex)
	j := journal.Journal{Generation: 1}
	for i := range 10 { // 64 MiB for each old index and for each new one
		j.Indexes = append(j.Indexes, journal.IndexChange{Path: fmt.Sprint("a", i), Old: long, New: long})
	}
	layouttest.Try(t, j.Check())
	n, err := j.WriteTo(holes{f})
	if err == nil {
		err = f.Truncate(n)
	}
	if err != nil || n <= 1<<30 {
		t.Fatalf("the journal has %d bytes, want more than 1 GiB; error %v", n, err)
	}
	got, err := journal.Read(dir)
	if err != nil || len(got.Indexes) != 10 {
		t.Fatalf("Read: error %v; want 10 indexes and no error", err)
	}
	if data, err := got.Indexes[9].NewBytes(t.Context()); err != nil || len(data) != len(long) {
		t.Errorf("NewBytes of the last index: got %d bytes, want 64 MiB; error %v", len(data), err)
	}
}

// Writers refuse a file that would be too long for readers.
func TestFilesTooLongForReadersAreRefused(t *testing.T) {
	for _, c := range []struct {
		what  string
		check func(n int64) error
		limit int64
	}{
		{"an index.json", func(n int64) error {
			return (&journal.Journal{Indexes: []journal.IndexChange{{Path: "a", New: make([]byte, n)}}}).Check()
		}, journal.MaxIndex},
		{"the state", func(n int64) error { return journal.CheckSize("the state", n) }, journal.MaxFile},
		{"the header of a journal", func(n int64) error { return journal.CheckSize("the header", n) }, journal.MaxFile},
	} {
		if err := c.check(c.limit); err != nil {
			t.Errorf("%s of %d bytes: got the error %v, want none", c.what, c.limit, err)
		}
		if err := c.check(c.limit + 1); !errors.Is(err, journal.ErrTooLong) {
			t.Errorf("%s of %d bytes: got the error %v, want ErrTooLong", c.what, c.limit+1, err)
		}
	}
}

// A journal that was written must be read back unchanged, whatever bytes its indexes contain. Each
// accepted journal must contain only legal paths.
func FuzzJournal(f *testing.F) {
	f.Add([]byte("old"), []byte("new"), true, []byte("{\"format\":1}\n"))
	f.Add([]byte(nil), []byte("\n\x00\xff"), false, []byte(`{"format":1,"indexes":[{"path":"a","old":9223372036854775807,"new":1}]}`+"\n"))
	f.Add([]byte("x"), []byte(""), true, []byte(`{"format":1,"indexes":[{"path":"../a","old":-1,"new":0}]}`+"\n"))
	dir := newStore(f)
	f.Fuzz(func(t *testing.T, old, fresh []byte, there bool, raw []byte) {
		if !there {
			old = nil
		} else if old == nil {
			old = []byte{}
		}
		if fresh == nil {
			fresh = []byte{}
		}
		j := journal.Journal{Generation: 7, Indexes: []journal.IndexChange{{Path: "a/b", Old: old, New: fresh}, {Path: ".", New: old}}}
		if old == nil {
			j.Indexes[1].New = []byte{}
		}
		write(t, dir, j)
		got, err := journal.Read(dir)
		layouttest.Try(t, err)
		if read := (journal.Journal{Generation: got.Generation, Packed: got.Packed, Indexes: readBack(t, got)}); !reflect.DeepEqual(read, j) {
			t.Errorf("read back the journal %+v, want %+v", read, j)
		}
		layouttest.Try(t, os.WriteFile(filepath.Join(dir, journal.File), raw, 0o644))
		if got, err := journal.Read(dir); err == nil {
			for _, c := range got.Indexes {
				if c.Path != "." && !names.IsRepository(c.Path) {
					t.Errorf("got a journal with the path %q, want only legal paths", c.Path)
				}
			}
		}
	})
}
