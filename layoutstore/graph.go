package layoutstore

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// Graph reads everything that the repository's indexes and discovery tags lead to. A gap in
// it is a *ProblemError, or an error that the content is not a manifest or has a size that
// no descriptor claims. Errors: ErrStale if a refresh is due; those for which
// [IsExhausted] is true; the context's.
func (r *Repository) Graph(ctx context.Context) (*closure.Graph, error) {
	return r.closure(ctx, nil)
}

// closure is Graph, and calls note with the result of reading each copy of a manifest.
func (r *Repository) closure(ctx context.Context, note noteRead) (*closure.Graph, error) {
	return closure.Walk(ctx, r.tops(), func(ctx context.Context, d digest.Digest) (body []byte, gap, err error) {
		return orGap(r.readCopies(ctx, d, note))
	})
}

// tops are the descriptors with which a traversal of the repository begins.
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

// readOrGap implements [closure.Read].
func (r *Repository) readOrGap(ctx context.Context, d digest.Digest) (body []byte, gap, err error) {
	return orGap(r.readManifest(ctx, d))
}

// orGap distinguishes a problem of one manifest from an error that ends a traversal.
func orGap(read []byte, failed error) (body []byte, gap, err error) {
	if errors.As(failed, new(*ProblemError)) {
		return nil, failed, nil
	}
	return read, nil, failed
}

// DiscoveryContent is the content of the manifest, config or layer d of a discovery image of
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
