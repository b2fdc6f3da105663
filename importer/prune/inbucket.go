package prune

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

type inBucket struct {
	store *publish.Bucket
	ids   map[digest.Digest]inode
	users map[digest.Digest]uint64 // number of layouts that have a blob, by the blob's digest
}

// openBucket opens a store in a bucket. Errors are journal.ErrNotStore and those of the bucket.
func (p *Pruner) openBucket(ctx context.Context) (*inBucket, error) {
	s, err := publish.ReadBucket(ctx, p.bucket)
	if err != nil {
		return nil, err
	}
	return &inBucket{store: s, ids: map[digest.Digest]inode{}}, s.FindBlobs(ctx)
}

func (b *inBucket) place() string                 { return b.store.Place() }
func (b *inBucket) files() ([]fs.DirEntry, error) { return nil, nil }
func (b *inBucket) reserve(int64)                 {}
func (b *inBucket) close()                        {}

func (b *inBucket) state() journal.State {
	return journal.State{Format: journal.Format, Generation: b.store.Pointer().Generation, Pruned: b.store.Generation().Pruned}
}

// snapshot returns a snapshot of the store. If another writer publishes meanwhile, the error is ErrLost.
func (b *inBucket) snapshot(ctx context.Context, o Options) (*layoutstore.Snapshot, error) {
	readers := func(at bucket.Place) bucket.Reader { return o.Buckets(at) }
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: []string{b.place()}, CacheDir: o.CacheDir, QuarantineDir: o.QuarantineDir, Buckets: readers})
	if err != nil {
		return nil, err
	}
	if b.users, err = b.store.Users(ctx); err != nil {
		return nil, err
	}
	return tree.Snapshot(), b.store.CheckCurrent(ctx)
}

func (b *inBucket) index(ctx context.Context, at string) ([]byte, error) {
	return b.store.ReadIndex(ctx, at)
}

func (b *inBucket) since(name string) time.Time {
	_, d, _ := names.ParseBlobPath(name)
	o, _ := b.store.Find(d)
	return o.LastModified
}

func (b *inBucket) measure(name string) (id inode, users uint64, bytes int64, err error) {
	_, d, _ := names.ParseBlobPath(name)
	o, ok := b.store.Find(d)
	if !ok {
		return id, 0, 0, fs.ErrNotExist
	}
	if _, known := b.ids[d]; !known {
		b.ids[d] = inode{1, uint64(len(b.ids) + 1)}
	}
	return b.ids[d], b.users[d], o.Size, nil
}

func (b *inBucket) publish(ctx context.Context, j *journal.Journal) error {
	changes := publish.Changes{Indexes: j.Indexes, Pruned: append([]journal.Pruned{}, j.Prune.State.Pruned...), Removed: map[string][]digest.Digest{}}
	for _, name := range j.Prune.Removed {
		at, d, ok := names.ParseBlobPath(name)
		if !ok {
			return fmt.Errorf("%s is not the path of a blob", name)
		}
		changes.Removed[at] = append(changes.Removed[at], d)
	}
	if err := b.store.Probe(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // last chance to cancel the publication
		return err
	}
	return b.store.Publish(context.WithoutCancel(ctx), changes)
}

// blobGrace is how long a bucket keeps the blobs of a generation after the next generation is published.
// Within this time, replicas must notice the new generation, and running pulls must complete.
const blobGrace = time.Hour

// garbage finds objects that no generation needs, and unfinished uploads. If the request says so, it deletes
// them.
func (p *Pruner) garbage(ctx context.Context, r LeftoversRequest) (Leftovers, error) {
	all := Leftovers{List: []Leftover{}, Removed: r.Remove}
	if r.DropDir != "" {
		return all, errors.ErrUnsupported
	}
	b, err := p.openBucket(ctx)
	if err != nil {
		return all, err
	}
	found, err := b.store.FindGarbage(ctx, publish.Sweeping{Age: max(publish.WriterAge, r.OlderThan), Grace: blobGrace})
	if err != nil {
		return all, err
	}
	for _, o := range found.Objects {
		all.Bytes += o.Size
	}
	if n := len(found.Objects); n > 0 {
		all.List = append(all.List, Leftover{Path: b.place(), Bytes: all.Bytes, Reason: fmt.Sprintf("objects that no generation needs: %d; a prune removed them from the store, or a writer uploaded them and has not published them yet", n)})
	}
	if n := len(found.Uploads); n > 0 {
		all.List = append(all.List, Leftover{Path: b.place(), Reason: fmt.Sprintf("unfinished uploads: %d", n)})
	}
	if !r.Remove || len(all.List) == 0 {
		return all, nil
	}
	if err := b.store.Sweep(ctx, found); err != nil {
		return Leftovers{}, err // it is unknown which of them were removed
	}
	return all, nil
}

func (p *Pruner) readState(ctx context.Context) (journal.State, error) {
	if p.bucket == nil {
		return journal.ReadState(p.options.Store)
	}
	s, err := publish.ReadBucket(ctx, p.bucket)
	if err != nil {
		return journal.State{}, err
	}
	return (&inBucket{store: s}).state(), nil
}
