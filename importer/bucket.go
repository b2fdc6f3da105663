package importer

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// Errors of imports from and into buckets.
var (
	// ErrPackedInBucket reports KeepPacked for a store in a bucket.
	ErrPackedInBucket = errors.New("a store in a bucket keeps no archives")
	// ErrPackedFromBucket reports KeepPacked for a bundle in a bucket.
	ErrPackedFromBucket = errors.New("in a bucket, so it cannot be kept packed")
	ErrLost             = publish.ErrLost
	ErrNoConditions     = publish.ErrNoConditions
)

// newInBucket returns an importer into a store in a bucket.
func newInBucket(o Options) (*Importer, error) {
	at, err := bucket.ParsePlace(o.Store)
	switch {
	case err != nil:
		return nil, err
	case o.KeepPacked:
		return nil, ErrPackedInBucket
	case o.Buckets == nil:
		return nil, ErrNoStore
	}
	o.Store = at.String()
	return &Importer{options: o}, nil
}

// readers returns a function that opens bundles in buckets, or nil.
func (o Options) readers() func(bucket.Place) bucket.Reader {
	if o.Buckets == nil {
		return nil
	}
	return func(at bucket.Place) bucket.Reader { return o.Buckets(at) }
}

// inBucket is a store in a bucket.
type inBucket struct {
	store   *publish.Bucket
	options Options
}

// snapshot fails with ErrLost if another writer publishes meanwhile.
func (d *inBucket) snapshot(ctx context.Context) (*layoutstore.Snapshot, error) {
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: []string{d.options.Store}, Indexes: []string{}, Buckets: d.options.readers()})
	if err != nil {
		return nil, err
	}
	return tree.Snapshot(), d.store.CheckCurrent(ctx)
}

func (d *inBucket) readIndex(ctx context.Context, at string) (data []byte, name string, err error) {
	data, err = d.store.ReadIndex(ctx, at)
	return data, d.options.Store + "/" + at, err
}

func (d *inBucket) pruned() []journal.Pruned { return d.store.Generation().Pruned }

// findExisting finds the layouts of the store that do not have a content.
func (d *inBucket) findExisting(ctx context.Context, p *plan) error {
	if err := d.store.FindBlobs(ctx); err != nil {
		return err
	}
	for _, c := range p.contents {
		for _, at := range c.wanted {
			has, err := hasBlob(ctx, p.target, at, c)
			if err != nil {
				return err
			}
			if !has {
				c.places = append(c.places, at)
			}
		}
	}
	return nil
}

// hasBlob reports whether the layout at a path has a content with its size.
func hasBlob(ctx context.Context, store *layoutstore.Snapshot, at string, c *content) (bool, error) {
	repo, err := store.At(at)
	if errors.Is(err, layoutstore.ErrRepositoryUnknown) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, l := range repo.Layouts() {
		where, err := l.Locate(ctx, c.digest)
		if err != nil && ctx.Err() != nil {
			return false, err
		}
		if err == nil && where.Size() == c.size {
			return true, nil
		}
	}
	return false, nil
}

// importToBucket is Import for a store in a bucket.
func (i *Importer) importToBucket(ctx context.Context, b *bundle, opened *fileid.Set) (Report, error) {
	at, err := bucket.ParsePlace(i.options.Store)
	if err != nil {
		return Report{}, err
	}
	store, err := publish.OpenBucket(ctx, i.options.Buckets(at))
	if err != nil {
		return Report{}, endOf(ctx, fmt.Errorf("store: %w", err))
	}
	s := &session{options: i.options, bucket: store, target: &inBucket{store, i.options}}
	report, err := s.upload(ctx, b)
	if errors.Is(err, layoutstore.ErrStale) && ctx.Err() == nil {
		if err = b.refresh(ctx); err == nil {
			report, err = s.upload(ctx, b)
		}
	}
	if err != nil {
		return Report{}, endOf(ctx, err)
	}
	report.Opened = opened
	return report, nil
}

// endOf returns the error of the context if that has ended.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// upload imports a bundle into a bucket: plan, upload, publish.
func (s *session) upload(ctx context.Context, b *bundle) (Report, error) {
	report := Report{Store: s.options.Store, Generation: s.bucket.Pointer().Generation, Problems: []layoutstore.Problem{}, NonDistributable: []layoutstore.Problem{}}
	p, err := s.plan(ctx, b)
	if err != nil {
		return Report{}, err
	}
	report.repositories = p.repositories
	t := p.transfer()
	if err := t.upload(ctx); err != nil {
		return Report{}, err
	}
	report.Blobs = t.blobs
	indexes, err := p.indexes(ctx, &report, func(r repository, m *merging) error { return p.addDescriptors(ctx, r, m, &report.Tags) })
	if err != nil {
		return Report{}, err
	}
	report.Problems = append(report.Problems, p.problems.all...)
	report.NonDistributable = append(report.NonDistributable, p.nonDistributable.all...)
	changes := publish.Changes{Indexes: indexes, Blobs: p.addedBlobs(), Revived: p.revived()}
	if changes.Signed, err = s.signed(ctx, b); err != nil {
		return Report{}, err
	}
	if changes.IsEmpty() {
		return report, nil
	}
	if err := ctx.Err(); err != nil { // the last moment at which nothing has changed
		return Report{}, err
	}
	if err := s.bucket.Publish(context.WithoutCancel(ctx), changes); err != nil {
		return Report{}, err
	}
	report.Generation, report.Changed = s.bucket.Pointer().Generation, true
	return report, nil
}

// addedBlobs returns the blobs that layouts of the store get.
func (p *plan) addedBlobs() map[string][]digest.Digest {
	added := map[string][]digest.Digest{}
	for _, c := range p.contents {
		for _, at := range c.places {
			if c.proven && (p.needed == nil || p.needed[blobName(at, c.digest)]) {
				added[at] = append(added[at], c.digest)
			}
		}
	}
	return added
}

// signed returns the signed inventories of the bundles that the store does not have.
func (s *session) signed(ctx context.Context, b *bundle) (fresh []publish.Signed, err error) {
	for _, source := range b.names {
		data, signature, err := s.signedInventory(ctx, source)
		if err != nil {
			return nil, err
		}
		if x := (publish.Signed{Inventory: data, Signature: signature}); data != nil && !s.bucket.HasSigned(x) {
			fresh = append(fresh, x)
		}
	}
	return fresh, nil
}
