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
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// Journal is what a store holds while an import is published: from before the first
// file gets its place until all have theirs. While it stands, readers take the old
// side; whoever holds the store's lock may finish it.
type Journal struct {
	Generation uint64   // that the import is
	Packed     []Packed // archives that come with it
	Indexes    []IndexChange
}

// IndexChange is one index.json before and after an import. Old and New are what a
// journal is written from; of one that was read, [IndexChange.OldBytes] and
// [IndexChange.NewBytes] read them when they are needed: all together they may be more
// than fits into memory.
type IndexChange struct {
	Path string // of the layout below the store; "." is the store itself
	Old  []byte // nil where the layout is a new one
	New  []byte

	journal  *standing // that it was read from, or nil
	old, new extent.List
}

// OldBytes are the bytes of the index before the import, nil where it had none. Errors:
// the file system's.
func (c IndexChange) OldBytes() ([]byte, error) {
	if c.journal == nil || c.old == nil {
		return c.Old, nil
	}
	return c.old.ReadAll()
}

// NewBytes are the bytes of the index after the import. Errors: the file system's.
func (c IndexChange) NewBytes() ([]byte, error) {
	if c.journal == nil {
		return c.New, nil
	}
	return c.new.ReadAll()
}

// Bounds of what is written of a store, which are those of what is read of it.
const (
	MaxIndex     = maxIndex     // bytes of an index.json
	MaxStoreFile = maxStoreFile // bytes of the state, and of the header of a journal
)

// ErrTooLong says that readers could not read something that was to be written.
var ErrTooLong = errors.New("more than a reader takes")

// Check fails where readers could not read the journal or the indexes that it puts in
// place. Errors: ErrTooLong.
func (j *Journal) Check() error {
	for _, c := range j.Indexes {
		if len(c.New) > MaxIndex {
			return fmt.Errorf("the index of %s would have %d bytes, more than the %d that an index may have: %w; import into another store, or less of the repository", c.Path, len(c.New), int64(MaxIndex), ErrTooLong)
		}
	}
	_, err := j.header()
	return err
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

// header is the first line.
func (j *Journal) header() ([]byte, error) {
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
		return nil, err
	}
	return append(line, '\n'), CheckStoreFile("the journal's header", int64(len(line))+1)
}

// CheckStoreFile fails where a file of a store, or the header of one, would have more
// bytes than are read of it. Errors: ErrTooLong.
func CheckStoreFile(what string, size int64) error {
	if size > MaxStoreFile {
		return fmt.Errorf("%s would have %d bytes, and at most %d are read: %w", what, size, int64(MaxStoreFile), ErrTooLong)
	}
	return nil
}

// WriteTo writes the journal as [ReadJournal] reads it. Errors: those of Check; of the
// writer.
func (j *Journal) WriteTo(w io.Writer) (int64, error) {
	line, err := j.header()
	if err != nil {
		return 0, err
	}
	n, err := w.Write(line)
	written := int64(n)
	for i := 0; i < 2*len(j.Indexes) && err == nil; i++ {
		c := j.Indexes[i/2]
		n, err = w.Write([][]byte{c.Old, c.New}[i%2])
		written += int64(n)
	}
	return written, err
}

// ReadJournal reads the journal that stands in the store at dir, or returns nil
// where none does. The bytes of the indexes stay where they are, however many there are:
// they can be read for as long as the journal stands. Errors: the file system's; that
// the file is no journal, or one of a later version.
func ReadJournal(dir string) (*Journal, error) {
	st, err := readStanding(dir)
	if st == nil || err != nil {
		return nil, err
	}
	j := &Journal{Generation: st.Generation, Packed: st.Packed}
	for _, ix := range st.indexes {
		c := IndexChange{Path: ix.path, journal: st, new: extent.List{{File: st, Off: ix.off + max(ix.old, 0), Len: ix.new}}}
		if ix.old >= 0 {
			c.old = extent.List{{File: st, Off: ix.off, Len: ix.old}}
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
	f, err := plainfile.OpenInDir(dir, JournalFile)
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
	f, err := plainfile.OpenInDir(st.dir, JournalFile)
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
