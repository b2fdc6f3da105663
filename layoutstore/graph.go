package layoutstore

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// Graph reads everything that the repository's indexes and discovery tags lead to. If a
// manifest is unavailable, its error is a *ProblemError, or says that the content is not a
// manifest or has a size that no descriptor claims. Errors: ErrStale if a refresh is due; those
// for which [IsExhausted] is true; the context's.
func (r *Repository) Graph(ctx context.Context) (*closure.Graph, error) {
	return closure.Walk(ctx, r.tops(), r.manifestReader(nil))
}

// manifestReader returns the function that reads manifests for a traversal. note may be nil. A
// problem of one manifest does not end the traversal.
func (r *Repository) manifestReader(note noteRead) closure.Read {
	return func(ctx context.Context, d digest.Digest) (body []byte, unavailable, err error) {
		body, err = r.readManifest(ctx, d, note)
		if errors.As(err, new(*ProblemError)) {
			return nil, err, nil
		}
		return body, nil, err
	}
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

// DiscoveryContent returns the content of the manifest, config or layer d of a discovery image of
// the repository. It makes the content from names alone and reads nothing.
func (r *Repository) DiscoveryContent(d digest.Digest) (content []byte, ok bool) {
	return r.images.content(d)
}

// IsDiscovery reports whether d is the manifest, config or layer of a discovery image of the
// repository. No layout contains it.
func (r *Repository) IsDiscovery(d digest.Digest) bool {
	k, _ := keyOf(d)
	return r.images.has(k)
}
