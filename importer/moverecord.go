package importer

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// moveRecord lists the archive names outside of the store that are about to be removed, each with
// the state of its file. The record exists from before the first removal until after the last. A
// killed process leaves some of the names, which look like an incomplete chunk set. The next
// process removes these names if their files have not changed.
type moveRecord struct {
	Format int `json:"format"`
	// Generation is the generation that publishes the archives. Until the store has reached it, no
	// name is removed.
	Generation uint64 `json:"generation"`
	Count      int    `json:"files"` // number of files in the lines that follow

	files []publish.MovedFile
}

const moveRecordFile = journal.Dir + "/outgoing-packed"

// write writes the record: a first line that contains the number of files, and one line per file.
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

// readMoveRecord reads a record. If there is none, the error wraps fs.ErrNotExist.
func readMoveRecord(name string) (*moveRecord, error) {
	f, err := plainfile.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r moveRecord
	in := json.NewDecoder(bufio.NewReader(f))
	if err := in.Decode(&r); err != nil {
		return nil, err
	}
	if r.Format != journal.Format {
		return nil, fmt.Errorf("format %d is unknown: this version of layoutproxy reads format %d", r.Format, journal.Format)
	}
	for in.More() {
		var file publish.MovedFile
		if err := in.Decode(&file); err != nil {
			return nil, err
		}
		r.files = append(r.files, file)
	}
	if len(r.files) != r.Count {
		return nil, fmt.Errorf("contains %d files, but its first line says %d", len(r.files), r.Count)
	}
	return &r, nil
}
