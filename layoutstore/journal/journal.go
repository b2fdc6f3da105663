// Package journal reads and writes the files that make a directory a store. These are its state,
// and the journal of an import that is being published. All readers of a store use [ReadView] to
// decide whether they see an import.
//
// A store in a bucket has no journal. It has a [Pointer] to a [Generation] instead.
package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// Journal is a file that exists in a store while an import is being published. During that time,
// readers see the state before the import. Any process that holds the lock of the store may complete the import.
type Journal struct {
	// Generation is the number of the import.
	Generation uint64
	// Packed contains the archives that the import adds.
	Packed  []Packed
	Indexes []IndexChange
	// Revived contains pruned manifests that are also in the import.
	Revived []Pruned
	// Prune is set in the journal of a prune. It is nil in the journal of an import.
	Prune *Prune
}

// Prune contains the data that only the journal of a prune contains.
type Prune struct {
	// State is the complete state of the store after the prune.
	State State `json:"state"`
	// Removed contains the paths of files in the store to be removed. They are removed after the
	// state is written, when readers no longer see them.
	Removed []string `json:"removed,omitempty"`
}

// IndexChange contains an index.json before and after an import. To write a journal, set Old and
// New. After reading a journal, call [IndexChange.OldBytes] and [IndexChange.NewBytes] instead.
// They read one index at a time, because all indexes together may not fit into memory.
type IndexChange struct {
	// Path is the path of the layout below the store. "." is the store itself.
	Path string
	// Old is the index before the import, or nil for a new layout.
	Old []byte
	New []byte

	old, new extent.List // where the old and new bytes are in a journal that was read
}

// OldBytes returns the index before the import. It returns nil if there was none. If ctx ends, it
// returns the cause. Other errors come from the file system.
func (c IndexChange) OldBytes(ctx context.Context) ([]byte, error) {
	if c.old == nil {
		return c.Old, nil
	}
	return c.old.ReadAll(ctx)
}

// NewBytes returns the index after the import. If ctx ends, it returns the cause. Other errors come
// from the file system.
func (c IndexChange) NewBytes(ctx context.Context) ([]byte, error) {
	if c.new == nil {
		return c.New, nil
	}
	return c.new.ReadAll(ctx)
}

// Check fails with ErrTooLong if the journal's header, or a new index in the journal, is too long
// for readers.
func (j *Journal) Check() error {
	for _, c := range j.Indexes {
		if len(c.New) > MaxIndex {
			return fmt.Errorf("the index of %s would have %d bytes, more than the %d that an index may have: %w; import into another store, or less of the repository", c.Path, len(c.New), int64(MaxIndex), ErrTooLong)
		}
	}
	_, err := j.header()
	return err
}

// headerLine is the first line of a journal. After it, the journal contains the old bytes and then
// the new bytes of each index.
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
	// Old is the size in bytes of the old index, or -1 if there was none.
	Old int64 `json:"old"`
	// New is the size in bytes of the new index.
	New int64 `json:"new"`
}

// header returns the first line of the journal, with the newline.
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

// WriteTo writes the journal in the format that [Read] reads. It fails if the header is too long or w fails.
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

// Read reads the journal of the store at dir. It returns nil if there is no journal. Read does not
// load the indexes; they can be read as long as the journal exists. It fails if the file is not a
// journal, or is one of a later version. Other errors come from the file system.
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
