package importer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// moveRecord holds the names outside of the store that archives are about to lose, each
// with the state of its file. It is written before the first name is removed, and removed
// after the last: a killed process leaves some of the names, and the rest of a chunk set
// would be waited for without an end. The next process removes the others, if their files
// are still in that state.
type moveRecord struct {
	Format     int    `json:"format"`
	Generation uint64 `json:"generation"` // of the store, from which on it counts
	Count      int    `json:"files"`      // how many follow

	files []movedFile
}

// movedFile is a file of a move record.
type movedFile struct {
	Name   fileName `json:"name"`   // absolute
	Inside fileName `json:"inside"` // in the store
	fileid.State
	Link bool `json:"link,omitempty"`
}

// newMovedFile is a file in its present state. ok is false where the system does not
// tell files from each other.
func newMovedFile(name string, info fs.FileInfo) (f movedFile, ok bool) {
	state, ok := fileid.Of(info)
	return movedFile{Name: fileName(name), State: state, Link: isLink(info)}, ok
}

// is says whether a file is the one that was recorded, in the same state.
func (f movedFile) is(info fs.FileInfo) bool {
	now, ok := fileid.Of(info)
	return ok && now == f.State && isLink(info) == f.Link
}

// hasInode says whether a file is the one that was recorded, in any state.
func (f movedFile) hasInode(info fs.FileInfo) bool {
	now, ok := fileid.Of(info)
	return ok && now.SameFile(f.State)
}

func isLink(info fs.FileInfo) bool { return info.Mode()&fs.ModeSymlink != 0 }

// fileName is the name of a file, of any bytes. In JSON what is not printable is escaped.
type fileName string

// MarshalText implements encoding.TextMarshaler.
func (n fileName) MarshalText() ([]byte, error) {
	quoted := strconv.Quote(string(n))
	return []byte(quoted[1 : len(quoted)-1]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *fileName) UnmarshalText(text []byte) error {
	name, err := strconv.Unquote(`"` + string(text) + `"`)
	*n = fileName(name)
	return err
}

// moveRecordFile is where the record is stored, below the store.
const moveRecordFile = journal.Dir + "/outgoing-packed"

// write writes the record: a line that says how many files there are, and one for each.
func (r *moveRecord) write(w io.Writer) error {
	r.Format, r.Count = journal.Format, len(r.files)
	out := bufio.NewWriter(w)
	e := json.NewEncoder(out)
	if err := e.Encode(r); err != nil {
		return err
	}
	for _, f := range r.files {
		if err := e.Encode(f); err != nil {
			return err
		}
	}
	return out.Flush()
}

// readMoveRecord reads a record. The error wraps fs.ErrNotExist where there is none.
func readMoveRecord(name string) (*moveRecord, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("is no regular file"))
	}
	var r moveRecord
	in := json.NewDecoder(bufio.NewReader(f))
	if err := in.Decode(&r); err != nil {
		return nil, err
	}
	if r.Format != journal.Format {
		return nil, fmt.Errorf("format %d, this program knows format %d", r.Format, journal.Format)
	}
	for in.More() {
		var file movedFile
		if err := in.Decode(&file); err != nil {
			return nil, err
		}
		r.files = append(r.files, file)
	}
	if len(r.files) != r.Count {
		return nil, fmt.Errorf("%d files, it says %d", len(r.files), r.Count)
	}
	return &r, nil
}
