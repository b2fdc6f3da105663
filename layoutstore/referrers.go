package layoutstore

import (
	"context"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// Referrers returns the reachable manifests whose subject is d, by digest, each with its
// artifact type and annotations as the distribution specification 1.1 ("Listing
// Referrers") requires. The list may be empty. A manifest that cannot be served is left
// out. Errors: ErrSlow; those for which [IsExhausted] is true; the cause of ctx.
func (r *Repository) Referrers(ctx context.Context, d digest.Digest) ([]specs.Descriptor, error) {
	return await(ctx, r.storage, d, func(ctx context.Context) ([]specs.Descriptor, error) { return r.referrersOf(ctx, d) }, nil)
}

func (r *Repository) referrersOf(ctx context.Context, d digest.Digest) ([]specs.Descriptor, error) {
	t, err := r.readTable(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]specs.Descriptor, 0, len(t.referrers[d]))
	for _, n := range t.referrers[d] {
		m, err := r.load(ctx, n)
		if IsExhausted(err) || ctx.Err() != nil {
			return nil, err
		}
		if err != nil {
			continue // it is a Problem
		}
		refs, _ := closure.Parse(m.Body) // t has no referrers that cannot be parsed
		list = append(list, specs.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size,
			ArtifactType: refs.ArtifactType, Annotations: refs.Annotations})
	}
	return list, nil
}
