package importer

import (
	"context"
	"errors"
	"io/fs"
	"path"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// target is the store that an import plans for, in a directory or in a bucket.
type target interface {
	snapshot(ctx context.Context) (*layoutstore.Snapshot, error)
	// findExisting finds the store's copies of the plan's contents, and the layouts that still need one.
	findExisting(ctx context.Context, p *plan) error
	// readIndex returns the index.json of an unpacked layout in the store, and its name for
	// messages. If there is no index, data is nil.
	readIndex(ctx context.Context, at string) (data []byte, name string, err error)
	// pruned returns the manifests that a prune will remove later.
	pruned() []journal.Pruned
}

// directory is a store in a directory. This process holds the lock of the store.
type directory struct {
	store   *publish.Store
	options Options
}

func (d *directory) snapshot(ctx context.Context) (*layoutstore.Snapshot, error) {
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: []string{d.options.Store}, Indexes: []string{}, CacheDir: d.options.CacheDir})
	if err != nil {
		return nil, err
	}
	return tree.Snapshot(), nil
}

func (d *directory) readIndex(_ context.Context, at string) (data []byte, name string, err error) {
	name = path.Join(at, ocispec.ImageIndexFile)
	data, err = fs.ReadFile(d.store.Root().FS(), name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return data, path.Join(d.store.Dir(), name), err
}

func (d *directory) pruned() []journal.Pruned { return d.store.State().Pruned }
