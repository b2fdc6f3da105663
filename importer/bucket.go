package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// Errors of imports whose bundle or store is in a bucket.
var (
	// ErrPackedInBucket reports that KeepPacked is set for a store in a bucket.
	ErrPackedInBucket = errors.New("a store in a bucket cannot keep archives packed")
	// ErrPackedFromBucket reports that KeepPacked is set for a bundle in a bucket.
	ErrPackedFromBucket = errors.New("in a bucket, so it cannot be kept packed")
	// ErrLost and ErrNoConditions are aliases of errors in package publish.
	ErrLost         = publish.ErrLost
	ErrNoConditions = publish.ErrNoConditions
)

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

// readers returns a function that opens buckets for reading, or nil if o.Buckets is nil.
func (o Options) readers() func(bucket.Place) bucket.Reader {
	if o.Buckets == nil {
		return nil
	}
	return func(at bucket.Place) bucket.Reader { return o.Buckets(at) }
}

type inBucket struct {
	store   *publish.Bucket
	options Options
}

// snapshot reads the store's tree. If another writer has published since this import opened the store,
// snapshot fails with ErrLost.
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

// findExisting finds, for each content of the bundle, the layouts in the store that still need a copy of it.
func (d *inBucket) findExisting(ctx context.Context, p *plan) error {
	if err := d.store.FindBlobs(ctx); err != nil {
		return err
	}
	for _, c := range p.contents {
		for _, at := range c.wanted {
			found, err := c.locate(ctx, p.target, at, func(layoutstore.Layout) bool { return false })
			if err != nil {
				return err
			}
			if len(found) == 0 {
				c.places = append(c.places, at)
			}
		}
	}
	return nil
}

func (i *Importer) importToBucket(ctx context.Context, b *bundle) (Report, error) {
	at, err := bucket.ParsePlace(i.options.Store)
	if err != nil {
		return Report{}, err
	}
	store, err := publish.OpenBucket(ctx, i.options.Buckets(at))
	if err != nil {
		return Report{}, endOf(ctx, fmt.Errorf("store: %w", err))
	}
	s := &session{options: i.options, bucket: store, target: &inBucket{store, i.options}}
	report, err := b.importWith(ctx, s.upload)
	if err != nil {
		return Report{}, endOf(ctx, err)
	}
	return report, nil
}

func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// upload imports a bundle into a bucket: plan, upload, publish.
func (s *session) upload(ctx context.Context, b *bundle) (Report, error) {
	report := newReport(s.options.Store, s.bucket.Pointer().Generation)
	p, err := s.plan(ctx, b)
	if err != nil {
		return Report{}, err
	}
	t := p.newTransfer()
	if err := t.eachContent(ctx, max(s.options.Jobs, minUploads), t.uploadContent); err != nil {
		return Report{}, err
	}
	indexes, err := p.indexes(ctx, &report, p.addDescriptors)
	if err != nil {
		return Report{}, err
	}
	report.addTransfer(t)
	signed, err := s.signedInventories(ctx, b)
	if err != nil {
		return Report{}, err
	}
	changes := publish.Changes{Indexes: indexes, Blobs: p.addedBlobs(), Revived: p.revived(), Signed: slices.DeleteFunc(signed, s.bucket.HasSigned)}
	if changes.IsEmpty() {
		return report, nil
	}
	if err := ctx.Err(); err != nil { // last chance to stop before the store changes
		return Report{}, err
	}
	if err := s.bucket.Publish(context.WithoutCancel(ctx), changes); err != nil {
		return Report{}, err
	}
	report.Generation, report.Changed = s.bucket.Pointer().Generation, true
	return report, nil
}

// addedBlobs returns the blobs that the import adds to the store, grouped by the path of their layout.
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
