package layoutstore_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// publishing is a store as an import leaves it that stopped with all new files in
// place: the layout a has another index, b is a new layout, and the archive new.tar too.
func publishing(t *testing.T) (dir string, old, fresh []byte) {
	t.Helper()
	dir = t.TempDir()
	tree := layouttest.New(t, dir)
	a := tree.Layout("a")
	a.Tag(a.Image(layouttest.Image{Name: "old"}), "v1")
	a.Write()
	index := filepath.Join(a.Dir(), "index.json")
	old = readFile(t, index)
	a.Tag(a.Image(layouttest.Image{Name: "new"}), "v1")
	a.Write()
	fresh = readFile(t, index)
	b := tree.Layout("b")
	b.Tag(b.Image(layouttest.Image{Name: "b"}), "v1")
	b.Write()
	packed := layouttest.New(t, t.TempDir())
	c := packed.Layout("c")
	c.Tag(c.Image(layouttest.Image{Name: "c"}), "v1")
	c.Write()
	packed.Archive(filepath.Join(dir, "new.tar"), layouttest.Archive{})
	if err := os.Mkdir(filepath.Join(dir, layoutstore.StoreDir), 0o755); err != nil {
		t.Fatal(err)
	}
	writeState(t, dir, layoutstore.Store{Format: layoutstore.StoreFormat, Generation: 4})
	writeJournal(t, dir, layoutstore.Journal{Generation: 5,
		Packed:  []layoutstore.Packed{{File: "new.tar", Name: "new.tar", Generation: 5}},
		Indexes: []layoutstore.IndexChange{{Path: "a", Old: old, New: fresh}, {Path: "b", New: readFile(t, filepath.Join(b.Dir(), "index.json"))}}})
	return dir, old, fresh
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeState(t *testing.T, dir string, s layoutstore.Store) {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(dir, layoutstore.StoreFile), data)
}

func writeJournal(t *testing.T, dir string, j layoutstore.Journal) {
	t.Helper()
	var b bytes.Buffer
	if _, err := j.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(dir, layoutstore.JournalFile), b.Bytes())
}

// replace puts data in place by a rename, as an import does.
func replace(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file+".tmp", data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".tmp", file); err != nil {
		t.Fatal(err)
	}
}

// While a journal stands the tree is the old one, and a moment after it is gone the
// new one: for who looks for the first time, and for who looks again.
func TestJournalHidesWhatIsPublished(t *testing.T) {
	dir, _, _ := publishing(t)
	open := func() *layoutstore.Tree {
		t.Helper()
		tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Indexes: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	see := func(s *layoutstore.Snapshot, paths ...string) {
		t.Helper()
		if err := s.Check(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if got := s.Paths(); !slices.Equal(got, paths) || len(s.Problems()) > 0 {
			t.Errorf("paths %q, problems %v", got, s.Problems())
		}
	}
	digestOf := func(s *layoutstore.Snapshot) string {
		t.Helper()
		repo, err := s.At("a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := repo.Layouts()[0].Index(); err != nil {
			t.Errorf("the index of a: %v", err)
		}
		d, err := repo.Tag("v1")
		if err != nil {
			t.Fatal(err)
		}
		return string(d.Digest)
	}
	tree := open()
	see(tree.Snapshot(), "a")
	old := digestOf(tree.Snapshot())
	if change, err := tree.Refresh(t.Context()); err != nil || change.Changed {
		t.Errorf("looking again: %+v, %v", change, err)
	}
	writeState(t, dir, layoutstore.Store{Format: layoutstore.StoreFormat, Generation: 5, Packed: []layoutstore.Packed{{File: "new.tar", Name: "new.tar", Generation: 5}}})
	if err := os.Remove(filepath.Join(dir, layoutstore.JournalFile)); err != nil {
		t.Fatal(err)
	}
	if change, err := tree.Refresh(t.Context()); err != nil || !change.Changed {
		t.Errorf("looking again: %+v, %v", change, err)
	}
	for _, s := range []*layoutstore.Snapshot{tree.Snapshot(), open().Snapshot()} {
		see(s, "a", "b", "c")
		if digestOf(s) == old {
			t.Error("the tag leads to what it led to before")
		}
	}
}

func TestReadJournal(t *testing.T) {
	dir, old, fresh := publishing(t)
	j, err := layoutstore.ReadJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := readBack(t, j)
	if j.Generation != 5 || len(got) != 2 || !bytes.Equal(got[0].Old, old) || !bytes.Equal(got[0].New, fresh) || got[1].Old != nil {
		t.Errorf("%+v", got)
	}
	if err := os.Remove(filepath.Join(dir, layoutstore.JournalFile)); err != nil {
		t.Fatal(err)
	}
	if j, err := layoutstore.ReadJournal(dir); j != nil || err != nil {
		t.Errorf("without one: %v, %v", j, err)
	}
}

// readBack reads the bytes of all indexes of a journal.
func readBack(t testing.TB, j *layoutstore.Journal) (all []layoutstore.IndexChange) {
	t.Helper()
	for _, c := range j.Indexes {
		old, err := c.OldBytes()
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := c.NewBytes()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, layoutstore.IndexChange{Path: c.Path, Old: old, New: fresh})
	}
	return all
}

// holes writes zeros by leaving them out.
type holes struct{ *os.File }

func (h holes) Write(p []byte) (int, error) {
	if len(bytes.Trim(p[:min(len(p), 1000)], "\x00")) > 0 {
		return h.File.Write(p)
	}
	_, err := h.Seek(int64(len(p)), io.SeekCurrent)
	return len(p), err
}

// A journal is as long as its indexes are together: what was written can be read again,
// one index after the other.
func TestLongJournal(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, layoutstore.StoreDir), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, layoutstore.JournalFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	long := make([]byte, layoutstore.MaxIndex)
	j := layoutstore.Journal{Generation: 1}
	for i := range 10 { // twice 64 MiB each
		j.Indexes = append(j.Indexes, layoutstore.IndexChange{Path: fmt.Sprint("a", i), Old: long, New: long})
	}
	if err := j.Check(); err != nil {
		t.Fatal(err)
	}
	n, err := j.WriteTo(holes{f})
	if err == nil {
		err = f.Truncate(n)
	}
	if err != nil || n <= 1<<30 {
		t.Fatalf("%d bytes: %v", n, err)
	}
	got, err := layoutstore.ReadJournal(dir)
	if err != nil || len(got.Indexes) != 10 {
		t.Fatalf("%v", err)
	}
	if data, err := got.Indexes[9].NewBytes(); err != nil || len(data) != len(long) {
		t.Errorf("%d bytes: %v", len(data), err)
	}
}

// No more is written than is read again.
func TestStoreBounds(t *testing.T) {
	for _, c := range []struct {
		what  string
		check func(n int64) error
		limit int64
	}{
		{"an index.json", func(n int64) error {
			return (&layoutstore.Journal{Indexes: []layoutstore.IndexChange{{Path: "a", New: make([]byte, n)}}}).Check()
		}, layoutstore.MaxIndex},
		{"the state", func(n int64) error { return layoutstore.CheckStoreFile("the state", n) }, layoutstore.MaxStoreFile},
		{"the header of a journal", func(n int64) error { return layoutstore.CheckStoreFile("the header", n) }, layoutstore.MaxStoreFile},
	} {
		if err := c.check(c.limit); err != nil {
			t.Errorf("%s of %d bytes: %v", c.what, c.limit, err)
		}
		if err := c.check(c.limit + 1); !errors.Is(err, layoutstore.ErrTooLong) {
			t.Errorf("%s of %d bytes: %v", c.what, c.limit+1, err)
		}
	}
}

// What is no journal, or one of a later program, is told of and hides nothing.
func TestBadStoreFiles(t *testing.T) {
	for name, spoil := range map[string]func(dir string){
		"journal":        func(dir string) { replace(t, filepath.Join(dir, layoutstore.JournalFile), []byte("{")) },
		"journal format": func(dir string) { replace(t, filepath.Join(dir, layoutstore.JournalFile), []byte("{\"format\":9}\n")) },
		"journal length": func(dir string) {
			f := filepath.Join(dir, layoutstore.JournalFile)
			replace(t, f, readFile(t, f)[:200])
		},
		"state":        func(dir string) { replace(t, filepath.Join(dir, layoutstore.StoreFile), []byte("x")) },
		"state format": func(dir string) { replace(t, filepath.Join(dir, layoutstore.StoreFile), []byte(`{"format":9}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, _, _ := publishing(t)
			tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Indexes: []string{}})
			if err != nil {
				t.Fatal(err)
			}
			spoil(dir)
			if _, err := tree.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := tree.Snapshot()
			if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0].Reason, "of the store") || !slices.Equal(s.Paths(), []string{"a"}) {
				t.Errorf("paths %q, problems %v", s.Paths(), p)
			}
		})
	}
}

// What is written is what is read, whatever bytes the indexes are; and no bytes are
// read that were not written so.
func FuzzJournal(f *testing.F) {
	f.Add([]byte("old"), []byte("new"), true, []byte("{\"format\":1}\n"))
	f.Add([]byte(nil), []byte("\n\x00\xff"), false, []byte(`{"format":1,"indexes":[{"path":"a","old":9223372036854775807,"new":1}]}`+"\n"))
	f.Add([]byte("x"), []byte(""), true, []byte(`{"format":1,"indexes":[{"path":"../a","old":-1,"new":0}]}`+"\n"))
	dir := f.TempDir()
	if err := os.Mkdir(filepath.Join(dir, layoutstore.StoreDir), 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, old, fresh []byte, there bool, raw []byte) {
		if !there {
			old = nil
		} else if old == nil {
			old = []byte{}
		}
		if fresh == nil {
			fresh = []byte{}
		}
		j := layoutstore.Journal{Generation: 7, Indexes: []layoutstore.IndexChange{{Path: "a/b", Old: old, New: fresh}, {Path: ".", New: old}}}
		if old == nil {
			j.Indexes[1].New = []byte{}
		}
		writeJournal(t, dir, j)
		got, err := layoutstore.ReadJournal(dir)
		if err != nil {
			t.Fatal(err)
		}
		if read := (layoutstore.Journal{Generation: got.Generation, Packed: got.Packed, Indexes: readBack(t, got)}); !reflect.DeepEqual(read, j) {
			t.Errorf("%+v, want %+v", read, j)
		}
		replace(t, filepath.Join(dir, layoutstore.JournalFile), raw)
		if got, err := layoutstore.ReadJournal(dir); err == nil {
			for _, c := range got.Indexes {
				if c.Path != "." && !layoutstore.ValidName(c.Path) {
					t.Errorf("path %q", c.Path)
				}
			}
		}
	})
}
