package page

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// place is where content is stored.
type place struct {
	Made  bool   // a discovery image: synthesized, and not stored in a file
	Entry string // name of the entry in the archive; empty for a loose file
	Runs  []run  // where the bytes are, in order
	More  int    // number of further runs
}

// run is a sequence of bytes in a file.
type run struct {
	File      string // a path
	Name      string // the last part of the path
	Off, Len  int64
	WholeFile bool
}

// maxRuns limits the listed runs of a place. Content that spans several chunks has one run per
// chunk.
const maxRuns = 4

// findPlace returns the place of the copy that the registry serves: the one in the last layout
// that has the content.
func findPlace(ctx context.Context, repo *layoutstore.Repository, d digest.Digest) (p place) {
	if repo.IsDiscovery(d) {
		return place{Made: true}
	}
	for _, layout := range slices.Backward(repo.Layouts()) {
		where, err := layout.Locate(ctx, d)
		if err != nil {
			continue
		}
		_, p.Entry = layout.WhereBlob(d)
		for _, e := range where[:min(maxRuns, len(where))] {
			file := e.File.String()
			p.Runs = append(p.Runs, run{file, filepath.Base(file), e.Off, e.Len, e.Whole})
		}
		p.More = len(where) - len(p.Runs)
		return p
	}
	return p
}

// Known reports whether the place was found.
func (p place) Known() bool { return p.Made || len(p.Runs) > 0 }
