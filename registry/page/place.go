package page

import (
	"context"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// place is where content is stored.
type place struct {
	Made  bool   // by this server: a discovery image, which no file has
	Entry string // in the archive; empty for a file of its own
	Runs  []run  // of its bytes, in their order
	More  int    // further runs
}

// run is a run of bytes in a file.
type run struct {
	File      string // a path
	Name      string // the last part of the path
	Off, Len  int64
	WholeFile bool
}

// maxRuns is how many runs a place lists. Content of a chunk set has one per chunk.
const maxRuns = 4

// findPlace finds where content of a repository is stored: in the last layout that has it, as that
// is the one whose copy is served.
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

// Known reports whether anything is known about the place.
func (p place) Known() bool { return p.Made || len(p.Runs) > 0 }
