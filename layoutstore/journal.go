package layoutstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// Journal is what a store holds while an import is published: from before the first
// file gets its place until all have theirs. While it stands, readers take the old
// side; whoever holds the store's lock may finish it.
type Journal struct {
	Generation uint64   // that the import is
	Packed     []Packed // archives that come with it
	Indexes    []IndexChange
}

// IndexChange is one index.json before and after an import.
type IndexChange struct {
	Path string // of the layout below the store; "." is the store itself
	Old  []byte // nil where the layout is a new one
	New  []byte
}

// journalHeader is the first line of a journal. The bytes of the indexes follow it,
// for each of them the old ones, then the new ones.
type journalHeader struct {
	Format     int            `json:"format"`
	Generation uint64         `json:"generation"`
	Packed     []Packed       `json:"packed,omitempty"`
	Indexes    []journalIndex `json:"indexes"`
}

type journalIndex struct {
	Path string `json:"path"`
	Old  int64  `json:"old"` // bytes; -1 where there was no index
	New  int64  `json:"new"` // bytes
}

// WriteTo writes the journal as [ReadJournal] reads it.
func (j *Journal) WriteTo(w io.Writer) (int64, error) {
	h := journalHeader{Format: StoreFormat, Generation: j.Generation, Packed: j.Packed, Indexes: []journalIndex{}}
	for _, c := range j.Indexes {
		old := int64(len(c.Old))
		if c.Old == nil {
			old = -1
		}
		h.Indexes = append(h.Indexes, journalIndex{c.Path, old, int64(len(c.New))})
	}
	line, err := json.Marshal(h)
	if err != nil {
		return 0, err
	}
	n, err := w.Write(append(line, '\n'))
	written := int64(n)
	for i := 0; i < 2*len(j.Indexes) && err == nil; i++ {
		c := j.Indexes[i/2]
		n, err = w.Write([][]byte{c.Old, c.New}[i%2])
		written += int64(n)
	}
	return written, err
}

// ReadJournal reads the journal that stands in the store at dir, or returns nil
// where none does. Errors: the file system's; that the file is no journal, or one of
// a later version.
func ReadJournal(dir string) (*Journal, error) {
	st, err := readStanding(dir)
	if st == nil || err != nil {
		return nil, err
	}
	data, info, err := readStoreFile(dir, JournalFile)
	if err == nil && (!os.SameFile(info, st.info) || int64(len(data)) != st.info.Size()) {
		err = extent.ErrStale
	}
	if err != nil {
		return nil, fmt.Errorf("the journal of the store %s: %w", dir, err)
	}
	j := &Journal{Generation: st.Generation, Packed: st.Packed}
	for _, ix := range st.indexes {
		c := IndexChange{Path: ix.path, New: data[ix.off+max(ix.old, 0):][:ix.new]}
		if ix.old >= 0 {
			c.Old = data[ix.off:][:ix.old:ix.old]
		}
		j.Indexes = append(j.Indexes, c)
	}
	return j, nil
}

// standing is a journal as a reader sees it: which layouts it changes, and where
// their old indexes lie in it.
type standing struct {
	Generation uint64
	Packed     []Packed
	dir        string
	info       fs.FileInfo
	indexes    []standingIndex
	byPath     map[string]int
}

type standingIndex struct {
	path          string
	off, old, new int64 // the old bytes lie at off, the new ones behind them; old is -1 for none
}

// readStanding reads the header of the journal that stands in a store, or returns nil.
func readStanding(dir string) (*standing, error) {
	f, err := os.OpenInRoot(dir, JournalFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	st := &standing{dir: dir, info: info, byPath: map[string]int{}}
	if err := st.parse(f, info.Size()); err != nil {
		return nil, fmt.Errorf("the journal of the store, %s: %w", path.Join(dir, JournalFile), err)
	}
	return st, nil
}

func (st *standing) parse(r io.Reader, size int64) error {
	line, err := readLine(r)
	if err != nil {
		return err
	}
	var h journalHeader
	if err := json.Unmarshal(line, &h); err != nil {
		return err
	}
	if err := checkFormat(h.Format); err != nil {
		return err
	}
	st.Generation, st.Packed = h.Generation, h.Packed
	off := int64(len(line))
	for i, ix := range h.Indexes {
		if ix.Path != "." && !ValidName(ix.Path) || ix.Old < -1 || ix.Old > size || ix.New < 0 || ix.New > size {
			return fmt.Errorf("no index of a store: %.300q", ix.Path)
		}
		st.indexes = append(st.indexes, standingIndex{ix.Path, off, ix.Old, ix.New})
		st.byPath[ix.Path] = i
		if off += max(ix.Old, 0) + ix.New; off > size {
			break
		}
	}
	if off != size {
		return fmt.Errorf("%d bytes, it says %d", size, off)
	}
	return nil
}

// readLine reads the first line, its end included.
func readLine(r io.Reader) ([]byte, error) {
	var line []byte
	r = io.LimitReader(r, maxStoreFile)
	for chunk := make([]byte, 64<<10); ; {
		n, err := r.Read(chunk)
		if i := bytes.IndexByte(chunk[:n], '\n'); i >= 0 {
			return append(line, chunk[:i+1]...), nil
		}
		line = append(line, chunk[:n]...)
		if err != nil {
			return nil, errors.New("it has no header")
		}
	}
}

func (st *standing) same(other *standing) bool {
	return os.SameFile(st.info, other.info) && st.info.ModTime().Equal(other.info.ModTime()) && st.Generation == other.Generation
}

// old is where the index of the layout at path lay before the import, nil where it
// had none; ok says whether the import changes it.
func (st *standing) old(path string) (where extent.List, ok bool) {
	i, ok := st.byPath[path]
	if !ok || st.indexes[i].old < 0 {
		return nil, ok
	}
	ix := st.indexes[i]
	return extent.List{{File: st, Off: ix.off, Len: ix.old}}, true
}

// Open implements extent.File: an old index is read out of the journal while that stands.
func (st *standing) Open() (*os.File, error) {
	f, err := os.OpenInRoot(st.dir, JournalFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: %w", st, extent.ErrStale, err)
	}
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !os.SameFile(info, st.info) {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s: %w", st, extent.ErrStale))
	}
	return f, nil
}

func (st *standing) String() string { return path.Join(st.dir, JournalFile) }
