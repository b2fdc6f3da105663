package layoutstore

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// Inventory adds the repositories at the given paths to an inventory, with their tags, manifests
// and blobs. It skips discovery tags. It also skips repositories with illegal names, and
// content that is missing or damaged: these are problems of the snapshot. The error is ErrStale if a
// refresh is due, the context's, or one for which [IsExhausted] is true.
func (s *Snapshot) Inventory(ctx context.Context, b *inventory.Builder, paths []string) error {
	for _, path := range paths {
		repo, err := s.At(path)
		if err != nil {
			return err
		}
		if repo.path != "." && !names.IsRepository(repo.path) || len(repo.layouts) == 0 {
			continue
		}
		if err := repo.inventory(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func (r *Repository) inventory(ctx context.Context, b *inventory.Builder) error {
	graph, err := r.Graph(ctx)
	if err != nil {
		return err
	}
	b.AddRepository(r.path)
	for _, m := range graph.Manifests {
		if m.Unavailable != nil || r.IsDiscovery(m.Digest) {
			continue
		}
		listed := inventory.Blob{Digest: m.Digest, Size: m.Size}
		b.AddBlob(listed)
		for _, tag := range m.Tags {
			b.AddTag(r.path, tag, listed)
		}
		if m.Top && len(m.Tags) == 0 {
			b.AddUntagged(r.path, listed)
		}
	}
	for _, blob := range graph.Blobs {
		if r.IsDiscovery(blob.Digest) {
			continue
		}
		size, err := r.sizeOf(ctx, blob.Digest)
		if err != nil {
			return err
		}
		if size >= 0 {
			b.AddBlob(inventory.Blob{Digest: blob.Digest, Size: size})
		}
	}
	return nil
}

// sizeOf returns the size in bytes of the last copy of a blob that exists and is not quarantined, or -1.
func (r *Repository) sizeOf(ctx context.Context, d digest.Digest) (int64, error) {
	where, err := r.locate(ctx, d, nil)
	switch {
	case err == nil:
		return where.Size(), nil
	case errors.Is(err, ErrBlobUnknown):
		return -1, nil
	}
	return -1, err
}
