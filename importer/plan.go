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

// content is a blob or manifest of the bundle. It is read once, even if it is in several
// repositories.
type content struct {
	digest digest.Digest
	size   int64 // in bytes
	copies []bundleCopy
	// owner is the first repository that contains the content.
	owner repository
	// wanted are the paths of all repositories that contain the content, each once.
	wanted []string
	// places are the layouts of the store to which the content must be added, because it is missing
	// or damaged there.
	places []string
	// existing are copies in the store with the right size. They are not proven yet.
	existing []*existingCopy
	// wrong are the layouts of the store that have the content with a different size.
	wrong []string
	// proven means that the digest of the content was computed and matches.
	proven bool
	// from is the copy that was proven. It is zero if an earlier import has staged the content.
	from bundleCopy
}

// blobName returns the path of a layout's blob, relative to the tree.
func blobName(layout string, d digest.Digest) string {
	return path.Join(layout, names.BlobPath(d))
}

// repository is a repository of the bundle with its graph, which is read once.
type repository struct {
	path  string
	repo  *layoutstore.Repository
	graph *closure.Graph
}

type plan struct {
	session      *session
	bundle       *bundle
	target       *layoutstore.Snapshot // the tree of the store
	repositories []repository
	contents     []*content // in the order in which the bundle probably stores them
	byDigest     map[digest.Digest]*content
	problems     *problemList
	// nonDistributable are the problems of missing layers whose media type makes them optional.
	nonDistributable problemList
	// contradicted are the manifests that contradict a descriptor, each with the media type that
	// this descriptor states.
	contradicted map[typedDigest]bool
	// repaired are the paths of damaged blobs in the store, which the import replaces.
	repaired map[string]bool
	// receivers maps each layout of the store to the proven contents that are missing or damaged
	// there. It is nil until it is needed.
	receivers map[string][]*content
	// needed are the paths of blobs that complete images need. It is nil while all images are
	// complete.
	needed map[string]bool
}

// typedDigest identifies a manifest in a repository of the bundle, together with the media type
// that a descriptor states for it.
type typedDigest struct {
	repository string
	digest     digest.Digest
	mediaType  string
}

// plan reads all manifests of the bundle. It finds what is missing, and what the store already has.
// It reads no blobs. If the bundle is incomplete and AllowIncomplete is not set, plan fails with an
// *IncompleteError.
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

func (p *plan) addRepository(ctx context.Context, r repository) error {
	from := len(p.contents)
	for _, m := range r.graph.Manifests {
		if m.Unavailable != nil {
			p.problems.add(inRepository(r.repo, m.TagsTo(), manifestProblem(r.repo, m)))
			continue
		}
		for _, t := range m.Contradicted {
			p.contradicted[typedDigest{r.path, m.Digest, t}] = true
			p.problems.add(damaged(r.repo, m.TagsTo(), m.Digest, fmt.Sprintf("a descriptor states the type %.100q, but the manifest has the type %.100q", t, m.MediaType)))
		}
		for _, fault := range m.Refs.Malformed {
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

// add adds a blob of a repository to the plan. sizes are the sizes that a copy may have; claims are
// the sizes that descriptors state.
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

// wantedBlobs returns the paths of the blobs that must be staged, relative to the tree.
func (p *plan) wantedBlobs() map[string]bool {
	wanted := map[string]bool{}
	for _, c := range p.contents {
		for _, at := range c.places {
			if name := blobName(at, c.digest); p.isWanted(name) {
				wanted[name] = true
			}
		}
	}
	return wanted
}

// isWanted reports whether a blob must be staged if the store needs it. name is the blob's path,
// relative to the tree.
func (p *plan) isWanted(name string) bool {
	return p.needed == nil || p.needed[name] || p.repaired[name]
}
