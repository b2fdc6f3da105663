package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// Inventory is what a repository needs, beside what lies in its layouts. Presence,
// sizes and the digests of manifests are looked at; the digests of blobs are left to
// who reads the blobs.
type Inventory struct {
	Graph    *closure.Graph
	Problems []Problem // by place
	// NonDistributable are layers that are not there and whose media type says that they
	// need not be: no problem, and yet a client has to get them elsewhere.
	NonDistributable []Problem
	Blobs            []Stored // by layout, then digest; without those of a wrong size

	repo  *Repository
	name  string
	found Findings
	need  map[digest.Digest]*need
	read  map[copyKey]*ProblemError // copies of manifests that were read, and what is wrong with them
}

// copyKey is a copy of a blob.
type copyKey struct {
	part   *part
	digest digest.Digest
}

// Stored is a blob that lies in a layout: one copy of it, where there are several.
type Stored struct {
	Layout Layout
	Digest digest.Digest
	Where  extent.List
	Needed bool // something leads to it
	Read   bool // the inventory has read it, as it reads manifests, and reported what is wrong
}

// Findings take in what an inventory finds, one by one and in no order. A nil one takes
// nothing.
type Findings struct {
	Problem, NonDistributable func(Problem)
	Blob                      func(Stored)
}

// need is what a repository says of a digest, and which copies it has.
type need struct {
	manifest *closure.Manifest
	blob     *closure.Blob
	sizes    []int64  // that would be right
	in       []Layout // those that hold it with one of the sizes
	found    []int64  // the sizes there
	there    bool     // something has its name, right or not
}

// Inventory takes the inventory of the repository at path. Errors:
// ErrRepositoryUnknown; ErrStale where a refresh is due; those that [Exhausted]
// knows; the context's.
func (s *Snapshot) Inventory(ctx context.Context, path string) (*Inventory, error) {
	var problems, left []Problem
	var blobs []Stored
	in, err := s.InventoryOf(ctx, path, Findings{
		Problem:          func(p Problem) { problems = append(problems, p) },
		NonDistributable: func(p Problem) { left = append(left, p) },
		Blob:             func(s Stored) { blobs = append(blobs, s) },
	})
	if err != nil {
		return nil, err
	}
	sortProblems(problems)
	in.Problems, in.NonDistributable, in.Blobs = problems, left, blobs
	return in, nil
}

// InventoryOf is [Snapshot.Inventory], and hands each finding to found in place of
// keeping it: there may be as many as blobs.
func (s *Snapshot) InventoryOf(ctx context.Context, path string, found Findings) (*Inventory, error) {
	repo, err := s.At(path)
	if err != nil {
		return nil, err
	}
	in := &Inventory{repo: repo, name: s.servedName(path), need: map[digest.Digest]*need{}, read: map[copyKey]*ProblemError{}, found: found}
	note := func(p *part, d digest.Digest, wrong *ProblemError) { in.read[copyKey{p, d}] = wrong }
	if in.Graph, err = repo.closure(ctx, note); err != nil {
		return nil, err
	}
	in.collect()
	for _, l := range repo.Layouts() {
		if err := in.look(ctx, l); err != nil {
			return nil, err
		}
	}
	for _, m := range in.Graph.Manifests {
		in.manifest(m)
	}
	for _, b := range in.Graph.Blobs {
		in.blob(b)
	}
	return in, nil
}

// collect notes what the graph leads to.
func (in *Inventory) collect() {
	for _, m := range in.Graph.Manifests {
		n := in.needOf(m.Digest)
		// The size of its bytes is right as well: descriptors that lie are told of apart.
		n.manifest, n.sizes = m, append(slices.Clone(m.Claims), m.Size)
	}
	for _, b := range in.Graph.Blobs {
		n := in.needOf(b.Digest)
		n.blob = b
		for _, c := range b.Claims {
			if !slices.Contains(n.sizes, c.Size) {
				n.sizes = append(n.sizes, c.Size)
			}
		}
	}
}

func (in *Inventory) needOf(d digest.Digest) *need {
	n := in.need[d]
	if n == nil {
		n = &need{}
		in.need[d] = n
	}
	return n
}

// look goes through the blobs that lie in a layout.
func (in *Inventory) look(ctx context.Context, l Layout) error {
	all, err := l.Blobs(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case Exhausted(err):
		return err
	case err != nil:
		path, entry := l.Where()
		in.report(Problem{Kind: Damaged, Path: path, Entry: entry, Repository: in.name, Layout: in.repo.path, Reason: fmt.Sprintf("its blobs cannot be listed: %v", err)})
	}
	for _, d := range all {
		if err := in.copyAt(l, d); err != nil {
			return err
		}
	}
	return nil
}

// copyAt takes in one copy of d.
func (in *Inventory) copyAt(l Layout, d digest.Digest) error {
	where, err := l.Locate(d)
	if Exhausted(err) {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it went while we looked
	}
	n := in.need[d]
	if n != nil {
		n.there = true
	}
	wrong, read := in.read[copyKey{l.part, d}]
	reason, quarantined := "", false
	if err == nil && !read {
		reason, quarantined = in.repo.quarantine.holds(l.part, d, where)
	}
	switch {
	case err != nil:
		in.add(l, d, Damaged, nil, err.Error())
	case n != nil && !slices.Contains(n.sizes, where.Size()):
		in.add(l, d, Damaged, where, wrongSize(where.Size(), n.sizes))
	case quarantined:
		in.add(l, d, Damaged, where, reason)
	default:
		if take := in.found.Blob; take != nil {
			take(Stored{l, d, where, n != nil, read})
		}
		if wrong != nil {
			in.add(l, d, wrong.Problem.Kind, where, wrong.Problem.Reason)
		} else if n != nil {
			n.in, n.found = append(n.in, l), append(n.found, where.Size())
		}
	}
	return nil
}
