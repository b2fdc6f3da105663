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

// newStore returns a directory in which a journal may be written.
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

func TestRead(t *testing.T) {
	dir := newStore(t)
	old, fresh := []byte("old"), []byte("new")
	write(t, dir, journal.Journal{Generation: 5,
		Packed:  []journal.Packed{{File: "new.tar", Name: "new.tar", Generation: 5}},
		Indexes: []journal.IndexChange{{Path: "a", Old: old, New: fresh}, {Path: "b", New: fresh}}})
	j, err := journal.Read(dir)
	layouttest.Try(t, err)
	got := readBack(t, j)
	if j.Generation != 5 || len(got) != 2 || !bytes.Equal(got[0].Old, old) || !bytes.Equal(got[0].New, fresh) || got[1].Old != nil {
		t.Errorf("%+v", got)
	}
	layouttest.Try(t, os.Remove(filepath.Join(dir, journal.File)))
	if j, err := journal.Read(dir); j != nil || err != nil {
		t.Errorf("without a journal: %v, %v", j, err)
	}
}

// readBack returns the bytes of all indexes of a journal.
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

// holes is a file that does not store zeros.
type holes struct{ *os.File }

func (h holes) Write(p []byte) (int, error) {
	if len(bytes.Trim(p[:min(len(p), 1000)], "\x00")) > 0 {
		return h.File.Write(p)
	}
	_, err := h.Seek(int64(len(p)), io.SeekCurrent)
	return len(p), err
}

// A journal may be as long as all its indexes together, and each of them can be read again.
func TestLongJournal(t *testing.T) {
	dir := newStore(t)
	f, err := os.Create(filepath.Join(dir, journal.File))
	layouttest.Try(t, err)
	defer f.Close()
	long := make([]byte, journal.MaxIndex)
	j := journal.Journal{Generation: 1}
	for i := range 10 { // twice 64 MiB each
		j.Indexes = append(j.Indexes, journal.IndexChange{Path: fmt.Sprint("a", i), Old: long, New: long})
	}
	layouttest.Try(t, j.Check())
	n, err := j.WriteTo(holes{f})
	if err == nil {
		err = f.Truncate(n)
	}
	if err != nil || n <= 1<<30 {
		t.Fatalf("%d bytes: %v", n, err)
	}
	got, err := journal.Read(dir)
	if err != nil || len(got.Indexes) != 10 {
		t.Fatalf("%v", err)
	}
	if data, err := got.Indexes[9].NewBytes(t.Context()); err != nil || len(data) != len(long) {
		t.Errorf("%d bytes: %v", len(data), err)
	}
}

// A store never writes a file that is too long to be read again.
func TestStoreLimits(t *testing.T) {
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
			t.Errorf("%s of %d bytes: %v", c.what, c.limit, err)
		}
		if err := c.check(c.limit + 1); !errors.Is(err, journal.ErrTooLong) {
			t.Errorf("%s of %d bytes: %v", c.what, c.limit+1, err)
		}
	}
}

// FuzzJournal: a journal that was written is read back unchanged, whatever bytes its indexes
// contain. The paths in every accepted journal are legal.
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
			t.Errorf("%+v, want %+v", read, j)
		}
		layouttest.Try(t, os.WriteFile(filepath.Join(dir, journal.File), raw, 0o644))
		if got, err := journal.Read(dir); err == nil {
			for _, c := range got.Indexes {
				if c.Path != "." && !names.IsRepository(c.Path) {
					t.Errorf("path %q", c.Path)
				}
			}
		}
	})
}
