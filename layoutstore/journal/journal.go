// Package journal reads and writes the files that make a directory a store: its state,
// and the journal of the import that is being published. It holds the one rule by which
// a reader of a store decides whether it sees an import: see [ReadView].
package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

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

// IndexChange is one index.json before and after an import. Old and New are what a
// journal is written from; of one that was read, [IndexChange.OldBytes] and
// [IndexChange.NewBytes] read them when they are needed: all together they may be more
// than fits into memory.
type IndexChange struct {
	Path string // of the layout below the store; "." is the store itself
	Old  []byte // nil where the layout is a new one
	New  []byte

	journal  *header // that it was read from, or nil
	old, new extent.List
}

// OldBytes are the bytes of the index before the import, nil where it had none. Errors:
// the cause of ctx; the file system's.
func (c IndexChange) OldBytes(ctx context.Context) ([]byte, error) {
	if c.journal == nil || c.old == nil {
		return c.Old, nil
	}
	return c.old.ReadAll(ctx)
}

// NewBytes are the bytes of the index after the import. Errors: the cause of ctx; the
// file system's.
func (c IndexChange) NewBytes(ctx context.Context) ([]byte, error) {
	if c.journal == nil {
		return c.New, nil
	}
	return c.new.ReadAll(ctx)
}

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

// headerLine is the first line of a journal. The bytes of the indexes follow it,
// for each of them the old ones, then the new ones.
type headerLine struct {
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
	h := headerLine{Format: Format, Generation: j.Generation, Packed: j.Packed, Indexes: []journalIndex{}}
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
	return append(line, '\n'), CheckSize("the journal's header", int64(len(line))+1)
}

// WriteTo writes the journal as [Read] reads it. Errors: those of Check; of the
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

// Read reads the journal that stands in the store at dir, or returns nil
// where none does. The bytes of the indexes stay where they are, however many there are:
// they can be read for as long as the journal stands. Errors: the file system's; that
// the file is no journal, or one of a later version.
func Read(dir string) (*Journal, error) {
	h, err := readHeader(dir)
	if h == nil || err != nil {
		return nil, err
	}
	j := &Journal{Generation: h.Generation, Packed: h.Packed}
	for _, ix := range h.indexes {
		c := IndexChange{Path: ix.path, journal: h, new: extent.List{{File: h, Off: ix.off + max(ix.old, 0), Len: ix.new}}}
		if ix.old >= 0 {
			c.old = extent.List{{File: h, Off: ix.off, Len: ix.old}}
		}
		j.Indexes = append(j.Indexes, c)
	}
	return j, nil
}
