// Package journal reads and writes the files that make a directory a store: its state, and the
// journal of the import that is being published. [ReadView] is the one rule by which readers of a
// store decide whether they see an import.
//
// A store in a bucket has a [Pointer] to a [Generation] instead.
package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// Journal exists in a store while an import is published: from before the first file is
// moved into place until all are. Meanwhile readers see the old state, and whoever
// holds the store's lock may complete the import.
type Journal struct {
	Generation uint64   // of the import
	Packed     []Packed // archives that the import adds
	Indexes    []IndexChange
	// Revived are pruned manifests that the import contains again.
	Revived []Pruned
	// Prune is set in the journal of a prune, and nil in that of an import.
	Prune *Prune
}

// Prune is the part of a journal that only a prune writes.
type Prune struct {
	// State is the complete state of the store after the prune.
	State State `json:"state"`
	// Removed are files below the store. They are removed once the state is written, when
	// readers no longer see them.
	Removed []string `json:"removed,omitempty"`
}

// IndexChange is one index.json before and after an import. A journal is written from Old and New.
// After a journal was read, [IndexChange.OldBytes] and [IndexChange.NewBytes] read the indexes when
// needed: all together may not fit into memory.
type IndexChange struct {
	Path string // of the layout below the store; "." is the store itself
	Old  []byte // nil for a new layout
	New  []byte

	old, new extent.List // of a change that was read from a journal
}

// OldBytes returns the index before the import, nil if there was none. Errors: the file
// system's; the cause of ctx.
func (c IndexChange) OldBytes(ctx context.Context) ([]byte, error) {
	if c.old == nil {
		return c.Old, nil
	}
	return c.old.ReadAll(ctx)
}

// NewBytes returns the index after the import. Errors: the file system's; the cause of ctx.
func (c IndexChange) NewBytes(ctx context.Context) ([]byte, error) {
	if c.new == nil {
		return c.New, nil
	}
	return c.new.ReadAll(ctx)
}

// Check fails if readers could not read the journal, or the indexes that it publishes.
// Errors: ErrTooLong.
func (j *Journal) Check() error {
	for _, c := range j.Indexes {
		if len(c.New) > MaxIndex {
			return fmt.Errorf("the index of %s would have %d bytes, more than the %d that an index may have: %w; import into another store, or less of the repository", c.Path, len(c.New), int64(MaxIndex), ErrTooLong)
		}
	}
	_, err := j.header()
	return err
}

// headerLine is the first line of a journal. The bytes of the indexes follow: for each index the
// old bytes, then the new ones.
type headerLine struct {
	Format     int            `json:"format"`
	Generation uint64         `json:"generation"`
	Packed     []Packed       `json:"packed,omitempty"`
	Revived    []Pruned       `json:"revived,omitempty"`
	Prune      *Prune         `json:"prune,omitempty"`
	Indexes    []journalIndex `json:"indexes"`
}

type journalIndex struct {
	Path string `json:"path"`
	Old  int64  `json:"old"` // bytes; -1 if there was no index
	New  int64  `json:"new"` // bytes
}

// header returns the first line.
func (j *Journal) header() ([]byte, error) {
	h := headerLine{Format: Format, Generation: j.Generation, Packed: j.Packed, Revived: j.Revived, Prune: j.Prune, Indexes: []journalIndex{}}
	for _, c := range j.Indexes {
		old := int64(len(c.Old))
		if c.Old == nil {
			old = -1
		}
		h.Indexes = append(h.Indexes, journalIndex{c.Path, old, int64(len(c.New))})
	}
	line, err := json.Marshal(h)
	return append(line, '\n'), errors.Join(err, CheckSize("the journal's header", int64(len(line))+1))
}

// WriteTo writes the journal in the form that [Read] reads. Errors: those of Check; of the writer.
func (j *Journal) WriteTo(w io.Writer) (int64, error) {
	line, err := j.header()
	parts := [][]byte{line}
	for _, c := range j.Indexes {
		parts = append(parts, c.Old, c.New)
	}
	written := int64(0)
	for i := 0; i < len(parts) && err == nil; i++ {
		var n int
		n, err = w.Write(parts[i])
		written += int64(n)
	}
	return written, err
}

// Read reads the journal of the store at dir, or returns nil if it does not exist. It does
// not load the bytes of the indexes: they can be read as long as the journal exists.
// Errors: the file system's; that the file is not a journal, or one of a later version.
func Read(dir string) (*Journal, error) {
	h, err := readHeader(dir)
	if h == nil {
		return nil, err
	}
	j := &Journal{Generation: h.Generation, Packed: h.Packed, Revived: h.Revived, Prune: h.Prune}
	for i, ix := range h.Indexes {
		j.Indexes = append(j.Indexes, IndexChange{Path: ix.Path, old: h.oldBytes(i), new: h.newBytes(i)})
	}
	return j, nil
}
