package page

import (
	"context"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// place is where content is stored.
type place struct {
	Made  bool   // a discovery image: synthesized, and in no file
	Entry string // name of the entry in the archive; empty for a loose file
	Runs  []run  // where the bytes are, in order
	More  int    // number of further runs
}

// run is a run of bytes in a file.
type run struct {
	File      string // a path
	Name      string // the last part of the path
	Off, Len  int64
	WholeFile bool
}

// maxRuns limits the listed runs of a place. Content that spans several chunks has one run per
// chunk.
const maxRuns = 4

// findPlace finds the copy of some content that the registry serves, which is in the last layout
// that has it.
func findPlace(ctx context.Context, repo *layoutstore.Repository, d digest.Digest) (p place) {
	if repo.IsDiscovery(d) {
		return place{Made: true}
	}
	layouts := repo.Layouts()
	for i := len(layouts) - 1; i >= 0; i-- {
		where, err := layouts[i].Locate(ctx, d)
		if err != nil {
			continue
		}
		_, p.Entry = layouts[i].WhereBlob(d)
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
