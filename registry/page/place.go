package page

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// place describes where content is stored.
type place struct {
	// Made means that the content is part of a discovery image, which is not stored in a file.
	Made bool
	// Entry is the name of the entry in an archive; empty for a loose file.
	Entry string
	// Runs lists where the bytes are stored, in order.
	Runs []run
	// More is the number of runs that Runs leaves out.
	More int
}

// run describes a sequence of bytes in a file. Name is the last part of the path File.
type run struct {
	File      string
	Name      string
	Off, Len  int64
	WholeFile bool
}

// maxRuns limits how many runs of a place are listed. Content that spans several chunks has one
// run in each of them.
const maxRuns = 4

// findPlace returns the place of the copy that the registry serves: the copy in the last layout
// that contains the content.
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
