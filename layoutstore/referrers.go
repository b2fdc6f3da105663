package layoutstore

import (
	"context"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// Referrers returns descriptors of the reachable manifests with the subject d, sorted by digest.
// Each has the artifact type and the annotations, as the distribution specification 1.1 ("Listing
// Referrers") requires. The list may be empty. It does not contain manifests that cannot be served.
// The error is ErrSlow, the cause of ctx, or one for which [IsExhausted] is true.
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
			continue // a check reports the manifest as a problem
		}
		refs, _ := closure.Parse(m.Body) // this cannot fail, because the table contains only valid referrers
		list = append(list, specs.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size,
			ArtifactType: refs.ArtifactType, Annotations: refs.Annotations})
	}
	return list, nil
}
