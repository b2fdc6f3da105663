package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// Changes lists the differences between the next generation and the current one.
type Changes struct {
	Indexes []journal.IndexChange
	// Blobs lists the blobs to add to layouts, by the path of the layout.
	Blobs map[string][]digest.Digest
	// Removed lists the blobs to remove from layouts, by the path of the layout.
	Removed map[string][]digest.Digest
	// Pruned lists the manifests that a prune will remove after their grace period. It replaces the current
	// list; nil keeps it.
	Pruned []journal.Pruned
	// Revived lists manifests to remove from the list of pruned manifests, because they are in use again.
	Revived []journal.Pruned
	// Signed lists signed inventories to add.
	Signed []Signed
}

// Signed is a signed inventory.
type Signed struct{ Inventory, Signature []byte }

// IsEmpty reports whether there are no changes to publish.
func (c Changes) IsEmpty() bool {
	return len(c.Indexes) == 0 && len(c.Blobs)+len(c.Removed) == 0 && c.Pruned == nil && len(c.Revived) == 0 && len(c.Signed) == 0
}

// Publish publishes changes as the next generation. It writes new indexes and lists of blobs, then the
// generation, and then moves the pointer. Errors are ErrLost, journal.ErrTooLong and those of the bucket.
func (s *Bucket) Publish(ctx context.Context, c Changes) error {
	next, err := s.next(ctx, c)
	if err != nil {
		return err
	}
	key, err := next.Write(ctx, s.bucket, s.dir)
	if err != nil {
		return err
	}
	if err := s.movePointer(ctx, journal.Pointer{Format: journal.Format, Generation: next.Generation, Object: key, Epoch: s.pointer.Epoch}); err != nil {
		return err
	}
	s.generation, s.dir = next, journal.NewGenerationDir(next.Generation+1)
	return nil
}

// movePointer replaces the pointer. If another writer has replaced it first, the error is ErrLost.
func (s *Bucket) movePointer(ctx context.Context, p journal.Pointer) error {
	p, err := p.Write(ctx, s.bucket, &s.pointer)
	if errors.Is(err, bucket.ErrChanged) {
		return fmt.Errorf("%s: %w", s.bucket.Place(), ErrLost)
	}
	if err == nil {
		s.pointer = p
	}
	return err
}

// next writes the indexes, lists of blobs and signed inventories of the next generation, and returns the
// generation.
func (s *Bucket) next(ctx context.Context, c Changes) (journal.Generation, error) {
	next := s.generation
	next.Generation, next.Previous = s.pointer.Generation+1, s.pointer.Object
	if c.Pruned != nil {
		next.Pruned = c.Pruned
	}
	next.Pruned = withoutRevived(next.Pruned, c.Revived)
	layouts := map[string]journal.StoredLayout{}
	for _, l := range next.Layouts {
		layouts[l.Path] = l
	}
	changed := map[string]*layoutChange{}
	change := func(at string) *layoutChange {
		if changed[at] == nil {
			changed[at] = &layoutChange{layout: layouts[at], blobs: c.Blobs[at], removed: c.Removed[at]}
		}
		return changed[at]
	}
	for _, x := range c.Indexes {
		if len(x.New) > journal.MaxIndex {
			return next, (&journal.Journal{Indexes: []journal.IndexChange{x}}).Check()
		}
		change(x.Path).index = x.New
	}
	for at := range c.Blobs {
		change(at)
	}
	for at := range c.Removed {
		change(at)
	}
	if err := s.writeLayouts(ctx, changed); err != nil {
		return next, err
	}
	for at, x := range changed {
		x.layout.Path = at
		layouts[at] = x.layout
	}
	next.Layouts = slices.SortedFunc(maps.Values(layouts), func(a, b journal.StoredLayout) int { return strings.Compare(a.Path, b.Path) })
	signed, err := s.writeSigned(ctx, c.Signed)
	next.Signed = slices.Concat(next.Signed, signed)
	return next, err
}

type layoutChange struct {
	layout journal.StoredLayout
	index  []byte // new index.json; nil if it does not change

	blobs   []digest.Digest // blobs to add
	removed []digest.Digest
}

func (s *Bucket) writeLayouts(ctx context.Context, changed map[string]*layoutChange) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxRequests)
	for number, at := range slices.Sorted(maps.Keys(changed)) {
		group.Go(func() error { return s.writeLayout(ctx, fmt.Sprintf("%s%d-", s.dir, number), changed[at]) })
	}
	return group.Wait()
}

func (s *Bucket) writeLayout(ctx context.Context, name string, x *layoutChange) (err error) {
	if x.index != nil {
		if x.layout.Index, err = journal.PutStored(ctx, s.bucket, name+"index.json", x.index); err != nil {
			return err
		}
	}
	isNew := x.layout.Blobs.Key == ""
	if len(x.blobs)+len(x.removed) == 0 && !isNew {
		return nil
	}
	var blobs []journal.StoredBlob
	if !isNew {
		if blobs, err = s.blobsOf(ctx, x.layout); err != nil {
			return err
		}
	}
	stays := map[digest.Digest]bool{}
	for _, d := range x.removed {
		stays[d] = false
	}
	for _, d := range x.blobs {
		stays[d] = true
	}
	blobs = slices.DeleteFunc(blobs, func(b journal.StoredBlob) bool { _, changed := stays[b.Digest]; return changed })
	for d, fresh := range stays {
		if !fresh {
			continue
		}
		o, ok := s.find(d)
		if !ok {
			return fmt.Errorf("the blob %s is not in the store %s", d, s.bucket.Place())
		}
		blobs = append(blobs, journal.StoredBlob{Digest: d, Size: o.Size, Epoch: o.epoch})
	}
	x.layout.Blobs, err = journal.PutStored(ctx, s.bucket, name+"blobs", journal.FormatBlobs(blobs))
	return err
}

// writeSigned uploads signed inventories, and returns where they are stored.
func (s *Bucket) writeSigned(ctx context.Context, all []Signed) (stored []journal.SignedInventory, err error) {
	for i, x := range all {
		var next journal.SignedInventory
		name := fmt.Sprintf("%ssigned-%d.json", s.dir, i)
		if next.Signature, err = journal.PutStored(ctx, s.bucket, name+".sig", x.Signature); err != nil {
			return nil, err
		}
		if next.Inventory, err = journal.PutStored(ctx, s.bucket, name, x.Inventory); err != nil {
			return nil, err
		}
		stored = append(stored, next)
	}
	return stored, nil
}

func (x Signed) is(have journal.SignedInventory) bool {
	return have.Inventory.Digest == digest.FromBytes(x.Inventory) && have.Signature.Digest == digest.FromBytes(x.Signature)
}
