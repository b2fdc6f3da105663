package layoutstore

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// Closure reads everything that the repository's indexes and discovery tags lead
// to. A gap in it is a *ProblemError, or says that the bytes are no manifest or that
// no descriptor has their size. Errors: ErrStale where a refresh is due; those that
// [Exhausted] knows; the context's.
func (r *Repository) Graph(ctx context.Context) (*closure.Graph, error) {
	return r.closure(ctx, nil)
}

// closure is Closure, and hands to note what reading a copy of a manifest gave.
func (r *Repository) closure(ctx context.Context, note noteRead) (*closure.Graph, error) {
	return closure.Walk(ctx, r.tops(), func(ctx context.Context, d digest.Digest) (body []byte, gap, err error) {
		return orGap(r.readCopies(ctx, d, note))
	})
}

// tops are what a traversal of the repository begins with.
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

// orGap tells what is wrong with a manifest from what ends a traversal.
func orGap(read []byte, failed error) (body []byte, gap, err error) {
	if errors.As(failed, new(*ProblemError)) {
		return nil, failed, nil
	}
	return read, nil, failed
}

// IsDiscovery says whether d is of a discovery image that was made for the
// repository: its manifest, config or layer. It lies in no layout.
func (r *Repository) IsDiscovery(d digest.Digest) bool {
	k, _ := keyOf(d)
	return r.images.has(k)
}
