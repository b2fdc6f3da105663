package layoutstore

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// Graph reads all manifests to which the repository's indexes and discovery tags lead. A manifest
// that is unavailable has an error. This is a *ProblemError, or it says that the content is no
// manifest or has a size that no descriptor claims. The error of Graph is ErrStale if a refresh is
// due, the context's, or one for which [IsExhausted] is true.
func (r *Repository) Graph(ctx context.Context) (*closure.Graph, error) {
	return closure.Walk(ctx, r.tops(), r.manifestReader(nil))
}

// manifestReader returns the function with which a traversal reads manifests. A problem of one
// manifest does not end the traversal. The function note may be nil.
func (r *Repository) manifestReader(note noteRead) closure.Read {
	return func(ctx context.Context, d digest.Digest) (body []byte, unavailable, err error) {
		body, err = r.readManifest(ctx, d, note)
		if errors.As(err, new(*ProblemError)) {
			return nil, err, nil
		}
		return body, nil, err
	}
}

// tops returns the descriptors at which a traversal of the repository begins.
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

// DiscoveryContent returns the content of the blob d of a discovery image in the repository. It
// reads nothing, because the content depends only on the name of the image. ok is false if no
// discovery image has the blob.
func (r *Repository) DiscoveryContent(d digest.Digest) (content []byte, ok bool) {
	return r.images.content(d)
}

// IsDiscovery reports whether d is a blob of a discovery image in the repository: its manifest, its
// config or a layer. No layout contains such blobs.
func (r *Repository) IsDiscovery(d digest.Digest) bool {
	k, _ := keyOf(d)
	return r.images.has(k)
}
