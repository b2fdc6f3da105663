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

// departure records the names of archives that are about to go from where they were
// imported from, each with the state of its file. It is written before the first of them goes and removed after the last:
// files go one by one, and what a killed process leaves of a chunk set would wait for the
// rest for ever. Whoever finds the record does the rest, and touches only files that are
// still in that state.
type departure struct {
	Format     int    `json:"format"`
	Generation uint64 `json:"generation"` // of the store, from which on it counts
	Count      int    `json:"files"`      // how many follow

	files []departing
}

// departing is a file of a departure.
type departing struct {
	Name   fileName `json:"name"`   // absolute
	Inside fileName `json:"inside"` // in the store
	fileid.State
	Link bool `json:"link,omitempty"`
}

// newDeparting is a file in its present state. ok is false where the system does not
// tell files from each other.
func newDeparting(name string, info fs.FileInfo) (f departing, ok bool) {
	state, ok := fileid.Of(info)
	return departing{Name: fileName(name), State: state, Link: isLink(info)}, ok
}

// is says whether a file is the one that was recorded, in the same state.
func (f departing) is(info fs.FileInfo) bool {
	now, ok := fileid.Of(info)
	return ok && now == f.State && isLink(info) == f.Link
}

// hasInode says whether a file is the one that was recorded, in any state.
func (f departing) hasInode(info fs.FileInfo) bool {
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

// departureFile begins the names of records, below the store.
const departureFile = journal.Dir + "/outgoing"

// write writes the record: a line that says how many files there are, and one for each.
func (d *departure) write(w io.Writer) error {
	d.Format, d.Count = journal.Format, len(d.files)
	out := bufio.NewWriter(w)
	e := json.NewEncoder(out)
	if err := e.Encode(d); err != nil {
		return err
	}
	for _, f := range d.files {
		if err := e.Encode(f); err != nil {
			return err
		}
	}
	return out.Flush()
}

// readDeparture reads a record. The error wraps fs.ErrNotExist where there is none.
func readDeparture(name string) (*departure, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("is no regular file"))
	}
	var d departure
	in := json.NewDecoder(bufio.NewReader(f))
	if err := in.Decode(&d); err != nil {
		return nil, err
	}
	if d.Format != journal.Format {
		return nil, fmt.Errorf("format %d, this program knows format %d", d.Format, journal.Format)
	}
	for in.More() {
		var file departing
		if err := in.Decode(&file); err != nil {
			return nil, err
		}
		d.files = append(d.files, file)
	}
	if len(d.files) != d.Count {
		return nil, fmt.Errorf("%d files, it says %d", len(d.files), d.Count)
	}
	return &d, nil
}
