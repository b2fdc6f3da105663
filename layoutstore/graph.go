package layoutstore

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// Graph reads everything that the repository's indexes and discovery tags lead to. If a
// manifest is unavailable, its error is a *ProblemError, or says that the content is not a
// manifest or has a size that no descriptor claims. Errors: ErrStale if a refresh is due; those for which
// [IsExhausted] is true; the context's.
func (r *Repository) Graph(ctx context.Context) (*closure.Graph, error) {
	return r.closure(ctx, nil)
}

// closure is Graph, and calls note with the result of reading each copy of a manifest.
func (r *Repository) closure(ctx context.Context, note noteRead) (*closure.Graph, error) {
	return closure.Walk(ctx, r.tops(), func(ctx context.Context, d digest.Digest) (body []byte, unavailable, err error) {
		return splitError(r.readCopies(ctx, d, note))
	})
}

// tops returns the descriptors with which a traversal of the repository begins.
func (r *Repository) tops() []closure.Top {
	tags := map[*node][]string{}
	for _, t := range r.tags {
		tags[t.node] = append(tags[t.node], t.tag)
	}
	tops := make([]closure.Top, len(r.top))
	for i := range r.top {
		n := &r.top[i]
		tops[i] = closure.Top{Digest: n.digest(), MediaType: n.mediaType(), Sizes: n.sizes(), Tags: tags[n]}
		if n.dispute != nil && len(n.dispute.types) > 1 {
			tops[i].Others = n.dispute.types[1:]
		}
	}
	return tops
}

// readForTraversal implements [closure.Read].
func (r *Repository) readForTraversal(ctx context.Context, d digest.Digest) (body []byte, unavailable, err error) {
	return splitError(r.readManifest(ctx, d))
}

// splitError distinguishes a problem of one manifest from an error that ends a traversal.
func splitError(read []byte, failed error) (body []byte, unavailable, err error) {
	if errors.As(failed, new(*ProblemError)) {
		return nil, failed, nil
	}
	return read, nil, failed
}

// DiscoveryContent returns the content of the manifest, config or layer d of a discovery image of
// the repository. It is made from names alone; nothing is read.
func (r *Repository) DiscoveryContent(d digest.Digest) (content []byte, ok bool) {
	return r.images.content(d)
}

// IsDiscovery reports whether d is the manifest, config or layer of a discovery image of the
// repository. No layout contains it.
func (r *Repository) IsDiscovery(d digest.Digest) bool {
	k, _ := keyOf(d)
	return r.images.has(k)
}
