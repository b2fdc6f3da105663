package prune

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// signed finds the signed inventories that are no longer needed: the store has none of the
// manifests that they list. If a part of the store cannot be read, it finds none.
func (p *Pruner) signed(ctx context.Context, s *publish.Store) ([]Leftover, error) {
	names, err := fs.Glob(s.Root().FS(), path.Join(journal.SignedDir, "*.json"))
	if err != nil || len(names) == 0 {
		return nil, err
	}
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: []string{s.Dir()}, CacheDir: p.options.CacheDir})
	if err != nil || len(tree.Snapshot().Hiding()) > 0 {
		return nil, err
	}
	var all []Leftover
	for _, name := range names {
		list, err := inventory.ReadFile(filepath.Join(s.Dir(), name))
		if err != nil {
			continue // keep an unreadable inventory: it may list content of the store
		}
		needed, err := hasAny(ctx, tree.Snapshot(), list)
		if err != nil {
			return nil, err
		}
		if needed {
			continue
		}
		x, err := measure(s.Root(), name)
		if err != nil {
			return nil, err
		}
		signature := name + path.Ext(inventory.SignatureName)
		x.Path, x.Reason = filepath.Join(s.Dir(), name), "signed inventory of a bundle that is no longer in the store"
		x.remove = func() error { // remove the inventory last: a later call finds both files by it
			if err := ignoreMissing(s.Remove(signature)); err != nil {
				return err
			}
			return ignoreMissing(s.Remove(name))
		}
		all = append(all, x)
	}
	return all, nil
}

// hasAny reports whether a snapshot has at least one of the manifests that an inventory lists.
func hasAny(ctx context.Context, s *layoutstore.Snapshot, list *inventory.Inventory) (bool, error) {
	for _, r := range list.Repositories {
		repo, err := s.At(r.Path)
		if errors.Is(err, layoutstore.ErrRepositoryUnknown) {
			continue
		}
		if err != nil {
			return false, err
		}
		listed := make([]digest.Digest, 0, len(r.Tags)+len(r.Untagged))
		for _, t := range r.Tags {
			listed = append(listed, t.Digest)
		}
		for _, m := range r.Untagged {
			listed = append(listed, m.Digest)
		}
		for _, l := range repo.Layouts() {
			for _, d := range listed {
				if _, err := l.Locate(ctx, d); !errors.Is(err, fs.ErrNotExist) {
					return err == nil || ctx.Err() == nil, ctx.Err()
				}
			}
		}
	}
	return false, nil
}
