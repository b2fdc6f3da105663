package importer

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// complete finds which of the digests that the repository's indexes name are complete: all
// that they lead to is proven. What they lead to is needed from then on.
func (p *plan) complete(r repository) map[digest.Digest]bool {
	repo, graph := r.repo, r.graph
	// lacks says whether something is missing that is needed, or not as it has to be.
	lacks := func(d digest.Digest, size int64, optional bool) bool {
		_, lack, err := findCopies(repo, d, []int64{size})
		if err != nil || lack != nil {
			return !optional || err != nil || lack.Kind == layoutstore.Damaged || lack.Reason != notThere
		}
		c := p.byDigest[d]
		return c == nil || !c.proven || c.size != size
	}
	ok := map[digest.Digest]bool{}
	optional := map[digest.Digest]bool{}
	for _, b := range graph.Blobs {
		optional[b.Digest] = b.Optional
		for _, c := range b.Claims {
			if c.By == nil { // the index names it for itself
				ok[b.Digest] = ok[b.Digest] || !lacks(b.Digest, c.Size, false)
			}
		}
	}
	for _, m := range graph.Manifests { // children come first
		ok[m.Digest] = m.Gap == nil && len(m.Refs.Faults) == 0 && !lacks(m.Digest, m.Size, false) &&
			!slices.ContainsFunc(m.Refs.Children, func(d closure.Descriptor) bool { return !ok[d.Digest] }) &&
			!slices.ContainsFunc(m.Refs.Blobs, func(r closure.Ref) bool { return lacks(r.Digest, r.Size, optional[r.Digest]) })
	}
	p.need(repo.Path(), graph, ok)
	return ok
}

// need notes which blobs complete manifests lead to.
func (p *plan) need(at string, graph *closure.Graph, ok map[digest.Digest]bool) {
	if p.needed == nil {
		p.needed = map[string]bool{}
	}
	reached := map[digest.Digest]bool{}
	for _, m := range slices.Backward(graph.Manifests) { // parents come first
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
