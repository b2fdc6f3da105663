package importer

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// findComplete reports for each digest of the repository whether its graph is complete: the digests of all
// required content are proven. It also calls markNeeded. Its errors are those of findCopies.
func (p *plan) findComplete(ctx context.Context, r repository) (map[digest.Digest]bool, error) {
	repo, graph := r.repo, r.graph
	var failed error
	// isMissing reports whether a required blob is missing, or was not proven with this size.
	isMissing := func(d digest.Digest, size int64, optional bool) bool {
		_, problem, err := findCopies(ctx, repo, d, []int64{size})
		if err != nil {
			failed = err
			return true
		}
		if problem != nil {
			return !optional || problem.Kind == layoutstore.Damaged || problem.Reason != missingReason
		}
		c := p.byDigest[d]
		return c == nil || !c.proven || c.size != size
	}
	ok := map[digest.Digest]bool{}
	optional := map[digest.Digest]bool{}
	for _, b := range graph.Blobs {
		optional[b.Digest] = b.Optional
		for _, c := range b.Claims {
			if c.By == nil { // an index lists the blob directly, without a manifest
				ok[b.Digest] = ok[b.Digest] || !isMissing(b.Digest, c.Size, false)
			}
		}
	}
	for _, m := range graph.Manifests { // children come before their parents
		ok[m.Digest] = m.Unavailable == nil && len(m.Refs.Malformed) == 0 && !isMissing(m.Digest, m.Size, false) &&
			!slices.ContainsFunc(m.Refs.Children, func(d closure.Descriptor) bool { return !ok[d.Digest] }) &&
			!slices.ContainsFunc(m.Refs.Blobs, func(r closure.Ref) bool { return isMissing(r.Digest, r.Size, optional[r.Digest]) })
	}
	if failed != nil {
		return nil, failed
	}
	p.markNeeded(repo.Path(), graph, ok)
	return ok, nil
}

// markNeeded adds to p.needed each complete manifest or blob that an index lists, and all content below it.
func (p *plan) markNeeded(at string, graph *closure.Graph, ok map[digest.Digest]bool) {
	if p.needed == nil {
		p.needed = map[string]bool{}
	}
	reached := map[digest.Digest]bool{}
	for _, m := range slices.Backward(graph.Manifests) { // iterate backward, so that parents come before their children
		if ok[m.Digest] && (m.Top || reached[m.Digest]) {
			p.needed[blobName(at, m.Digest)] = true
			for _, d := range m.Refs.Children {
				reached[d.Digest] = true
			}
			for _, r := range m.Refs.Blobs {
				p.needed[blobName(at, r.Digest)] = true
			}
		}
	}
	for _, b := range graph.Blobs {
		if ok[b.Digest] {
			p.needed[blobName(at, b.Digest)] = true
		}
	}
}
