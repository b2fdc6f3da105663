package layoutstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// errNoBuckets is the error for a source in a bucket if Options.Buckets is nil.
var errNoBuckets = errors.New("this command does not support sources in buckets")

// openBucket prepares a source in a bucket. It sends no requests.
func (s *source) openBucket(path string, o Options) error {
	at, err := bucket.ParsePlace(path)
	if err == nil && o.Buckets == nil {
		err = fmt.Errorf("%s: %w", path, errNoBuckets)
	}
	if err != nil {
		return fmt.Errorf("source %w", err)
	}
	s.path = at.String()
	s.openObjects(at, o.Buckets)
	return nil
}

// scanBucket scans a source in a bucket, which is either a store or a set of objects. Only the
// first scan sends a request to find out which.
func (s *source) scanBucket(ctx context.Context, now time.Time) (sourceState, error) {
	if s.store || s.archive == "" && (!s.scanned || s.last.generation != "") {
		next, err := s.scanBucketStore(ctx)
		if s.store || s.scanned || !errors.Is(err, journal.ErrNotStore) {
			return next, err
		}
	}
	return s.scanObjects(ctx, now)
}

// scanBucketStore scans a store in a bucket. It sends only one request if the pointer is unchanged
// and nothing was damaged or missing. A damaged store is a problem, as in a directory. So is an
// unreachable bucket, except at the first scan. The error is the context's, one for which [IsExhausted]
// is true or, at the first scan, journal.ErrNotStore.
func (s *source) scanBucketStore(ctx context.Context) (sourceState, error) {
	pointer, err := journal.ReadPointer(ctx, s.bucket)
	if s.store && s.last.generation == "" && errors.Is(err, journal.ErrNotStore) {
		return s.emptyStore(), nil
	}
	if err != nil {
		return s.withoutBucket(ctx, err)
	}
	if last := s.last; last.loose != nil && len(last.loose.problems) == 0 && last.generation == pointer.Object && s.key == last.inventory.key() {
		if vol, ok := last.loose.vol.(*bucketVolume); ok && vol.hasAllBlobs() {
			last.failed, last.problems, last.again = nil, nil, 0
			s.keepSigned(&last) // adds the problems of unsigned content again
			return last, nil
		}
	}
	next, err := s.readGeneration(ctx, pointer)
	if err != nil {
		if now, again := journal.ReadPointer(ctx, s.bucket); again == nil && now.Object != pointer.Object {
			next, err = s.readGeneration(ctx, now) // a sweep may have deleted the old generation: read the new one
		}
	}
	if err != nil {
		return s.withoutBucket(ctx, err)
	}
	return next, nil
}

// emptyStore returns the state that a store in a bucket has before the first import.
func (s *source) emptyStore() sourceState {
	h := &volumeState{vol: &bucketVolume{bucket: s.bucket}, status: SourceStatus{Path: s.path, Kind: s.kind(), State: "ready"}}
	return sourceState{loose: cmp.Or(s.last.loose, h), inventory: &sourceInventory{trust: newTrust(s.key)}}
}

// unreachableAgain is how long after a scan an unreachable store is scanned again, even if nothing else
// starts a scan.
const unreachableAgain = 10 * time.Second

// withoutBucket returns the state of a source whose bucket or store cannot be read. After the first
// scan, an unreachable bucket is a problem of this source only: the scan of the others continues.
func (s *source) withoutBucket(ctx context.Context, err error) (sourceState, error) {
	switch {
	case ctx.Err() != nil:
		return sourceState{}, context.Cause(ctx)
	case s.scanned && errors.Is(err, bucket.ErrUnreachable):
		next := s.failingState(err)
		next.again = unreachableAgain
		return next, nil
	case IsExhausted(err):
		return sourceState{}, err
	case !s.scanned && errors.Is(err, journal.ErrNotStore):
		return sourceState{}, fmt.Errorf("source %s: %w", s.path, err)
	}
	return s.failingState(err), nil
}

// readGeneration reads the generation to which the pointer of a store refers.
func (s *source) readGeneration(ctx context.Context, pointer journal.Pointer) (sourceState, error) {
	g, err := journal.ReadGeneration(ctx, s.bucket, pointer.Object)
	if err != nil {
		return sourceState{}, err
	}
	last := s.last.looseOrEmpty()
	vol, ok := last.vol.(*bucketVolume)
	if !ok {
		vol = &bucketVolume{bucket: s.bucket}
	}
	if err := vol.load(ctx, g); err != nil {
		return sourceState{}, err
	}
	h := &volumeState{vol: vol, status: SourceStatus{Path: s.path, Kind: s.kind(), State: "ready"}}
	listing, err := vol.Layouts(ctx)
	if err != nil {
		return sourceState{}, err
	}
	if err := h.readLayouts(ctx, listing, last.layouts); err != nil {
		return sourceState{}, err
	}
	if h.moved {
		return sourceState{}, fmt.Errorf("objects of generation %d: %w", g.Generation, fs.ErrNotExist)
	}
	next := sourceState{loose: h, generation: pointer.Object}
	if next.inventory, err = s.readSignedObjects(ctx, g); err != nil {
		return sourceState{}, err
	}
	s.keepSigned(&next)
	return next, nil
}

// readSignedObjects reads the signed inventories of a generation, if the source has a key. If they
// are those of the last scan, it returns the last result. It ignores inventories that the key did not
// sign.
func (s *source) readSignedObjects(ctx context.Context, g journal.Generation) (*sourceInventory, error) {
	if s.key == nil {
		return &sourceInventory{}, nil
	}
	stamp := fmt.Sprint(g.Signed)
	if last := s.last.inventory; last != nil && last.stamp == stamp && s.key == last.key() {
		return last, nil
	}
	var all []*inventory.Inventory
	for _, signed := range g.Signed {
		data, err := signed.Inventory.Read(ctx, s.bucket)
		if err != nil {
			return nil, err
		}
		signature, err := signed.Signature.Read(ctx, s.bucket)
		if err != nil {
			return nil, err
		}
		if i, err := s.key.Verified(s.path+"/"+signed.Inventory.Key, data, signature); err == nil {
			all = append(all, i)
		}
	}
	return &sourceInventory{stamp: stamp, trust: newTrust(s.key, all...)}, nil
}
