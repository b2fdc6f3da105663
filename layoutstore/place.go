package layoutstore

import (
	"path"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// place is where something is stored, for messages: a file or directory, and the entry in it if the
// file is an archive. The zero value means that the place is unknown.
type place struct{ path, entry string }

func (p place) String() string {
	if p.entry == "" {
		return p.path
	}
	return p.path + ": " + p.entry
}

// problem returns a copy of a problem, with p as its place.
func (p place) problem(problem Problem) Problem {
	problem.Path, problem.Entry = p.path, p.entry
	return problem
}

// blob returns the place of a blob in the layout at p: a file, or an entry of an archive.
func (p place) blob(d digest.Digest) place {
	switch {
	case p.entry != "":
		p.entry = path.Join(p.entry, names.BlobPath(d))
	case p.path != "":
		p.path = volume.JoinPath(p.path, names.BlobPath(d))
	}
	return p
}

// where returns the place of the layout. p may be nil: then the place is unknown.
func (p *indexedLayout) where() place {
	if p == nil {
		return place{}
	}
	path, entry := p.vol.Where(p.path)
	return place{path, entry}
}
