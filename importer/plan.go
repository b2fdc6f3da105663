package importer

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// content is a blob or a manifest of the bundle. It is read once, even if several repositories
// have it.
type content struct {
	digest   digest.Digest
	size     int64 // bytes, of the proven copy
	copies   []bundleCopy
	owner    repository      // the first one that has it
	wanted   []string        // paths of the repositories that have it, each once
	places   []string        // layouts of the store to add it to: it is missing or damaged there
	existing []*existingCopy // copies in the store with the right size, not yet proven
	wrong    []string        // layouts of the store that have it with another size
	proven   bool            // its digest was computed and matches
	from     bundleCopy      // the proven copy; zero if an earlier import staged the content
}

// blobName returns the path of a blob of a layout, relative to the tree.
func blobName(layout string, d digest.Digest) string {
	return path.Join(layout, names.BlobPath(d))
}

// repository is a repository of the bundle with its graph: everything that its indexes lead to,
// read once.
type repository struct {
	path  string
	repo  *layoutstore.Repository
	graph *closure.Graph
}

// plan holds the work of an import.
type plan struct {
	session      *session
	bundle       *bundle
	target       *layoutstore.Snapshot // the store's tree
	repositories []repository
	contents     []*content // in the order in which they are probably stored
	byDigest     map[digest.Digest]*content
	problems     *problemList
	// nonDistributable are layers that the bundle omits, as their media type allows.
	nonDistributable problemList
	// contradicted are descriptors whose media type does not match the manifest.
	contradicted map[typedDigest]bool
	// repaired are the paths of blobs in the store that are damaged and replaced.
	repaired map[string]bool
	// receivers are the layouts of the store that get blobs; nil until first needed.
	receivers map[string]bool
	// needed are the paths of blobs that complete images lead to; nil while everything is
	// complete.
	needed map[string]bool
}

// typedDigest is a manifest in a repository of the bundle with the media type of a descriptor.
type typedDigest struct {
	repository string
	digest     digest.Digest
	mediaType  string
}

// plan reads all manifests of the bundle and finds what it has, what is missing, and what the
// store already has. It reads no blobs. The error is an *IncompleteError if the bundle is
// incomplete and that is not allowed.
func (s *session) plan(ctx context.Context, b *bundle) (*plan, error) {
	target, err := s.target.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	problems, err := b.problems(ctx, s)
	if err != nil {
		return nil, err
	}
	p := &plan{session: s, bundle: b, target: target, byDigest: map[digest.Digest]*content{}, problems: problems, contradicted: map[typedDigest]bool{}, repaired: map[string]bool{}}
	for _, at := range b.snapshot.Paths() {
		if isReserved(at) {
			continue
		}
		repo, err := b.snapshot.At(at)
		if err != nil {
			return nil, err
		}
		graph, err := repo.Graph(ctx)
		if err != nil {
			return nil, err
		}
		r := repository{at, repo, graph}
		p.repositories = append(p.repositories, r)
		if err := p.addRepository(ctx, r); err != nil {
			return nil, err
		}
	}
	if len(problems.all) > 0 && !s.options.AllowIncomplete {
		return nil, &IncompleteError{problems.all}
	}
	if err := s.target.findExisting(ctx, p); err != nil {
		return nil, err
	}
	if s.options.KeepPacked {
		p.keepRepairs()
	}
	return p, nil
}

// addRepository adds one repository of the bundle to the plan.
func (p *plan) addRepository(ctx context.Context, r repository) error {
	from := len(p.contents)
	for _, m := range r.graph.Manifests {
		if m.Unavailable != nil {
			p.problems.add(inRepository(r.repo, m.TagsTo(), manifestProblem(r.repo, m)))
			continue
		}
		for _, t := range m.Contradicted {
			p.contradicted[typedDigest{r.path, m.Digest, t}] = true
			p.problems.add(damaged(r.repo, m.TagsTo(), m.Digest, fmt.Sprintf("a descriptor says %.100q, but it is %.100q", t, m.MediaType)))
		}
		for _, fault := range m.Refs.Faults {
			p.problems.add(damaged(r.repo, m.TagsTo(), m.Digest, fault))
		}
		if err := p.add(ctx, r, m.Digest, []int64{m.Size}, m.Claims, false, m.TagsTo); err != nil {
			return err
		}
	}
	for _, b := range r.graph.Blobs {
		var sizes []int64
		for _, c := range b.Claims {
			if !slices.Contains(sizes, c.Size) {
				sizes = append(sizes, c.Size)
			}
		}
		if err := p.add(ctx, r, b.Digest, sizes, sizes, b.Optional, b.TagsTo); err != nil {
			return err
		}
	}
	slices.SortStableFunc(p.contents[from:], func(a, b *content) int { return cmp.Compare(a.digest, b.digest) })
	return nil
}

// add adds a blob of a repository. sizes are the sizes that a copy may have, claims the sizes that
// descriptors state.
func (p *plan) add(ctx context.Context, r repository, d digest.Digest, sizes, claims []int64, optional bool, tags func() []string) error {
	copies, problem, err := findCopies(ctx, r.repo, d, sizes)
	if err != nil {
		return err
	}
	if problem == nil && !d.Algorithm().Available() {
		problem = &layoutstore.Problem{Kind: layoutstore.Limited, Digest: d, Reason: "unsupported digest algorithm"}
	}
	if problem != nil {
		list := p.problems
		if optional && problem.Kind != layoutstore.Damaged && problem.Reason == missingReason {
			list = &p.nonDistributable
		}
		list.add(inRepository(r.repo, tags(), *problem))
		return nil
	}
	size := copies[0].size
	for _, claim := range claims {
		if claim != size {
			p.problems.add(damaged(r.repo, tags(), d, fmt.Sprintf("%d bytes, the descriptor says %d", size, claim)))
		}
	}
	c := p.byDigest[d]
	if c == nil {
		c = &content{digest: d, size: size, owner: r}
		p.byDigest[d] = c
		p.contents = append(p.contents, c)
	}
	c.copies = append(c.copies, copies...)
	if n := len(c.wanted); n == 0 || c.wanted[n-1] != r.path {
		c.wanted = append(c.wanted, r.path)
	}
	return nil
}

// wantedBlobs returns the paths of the blobs to stage, relative to the tree.
func (p *plan) wantedBlobs() map[string]bool {
	wanted := map[string]bool{}
	for _, c := range p.contents {
		for _, at := range c.places {
			if name := blobName(at, c.digest); p.needed == nil || p.needed[name] || p.repaired[name] {
				wanted[name] = true
			}
		}
	}
	return wanted
}
