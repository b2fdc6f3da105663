package publish

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// WriterAge is the age at which an object that no generation needs becomes garbage. A younger object may
// belong to a writer that has not published yet.
const WriterAge = 24 * time.Hour

// Sweeping says which objects are garbage.
type Sweeping struct {
	// Age is the minimum age of garbage.
	Age time.Duration
	// Grace is how long a generation keeps its blobs after the next generation is published. Meanwhile,
	// replicas notice the new generation, and running pulls complete.
	Grace time.Duration
}

// Garbage lists the objects and uploads that no reader and no writer needs anymore.
type Garbage struct {
	Objects []bucket.Object
	Uploads []bucket.Upload // uploads that were never completed

	pending bool // whether a writer that has not published yet may use one of the objects
}

// FindGarbage finds garbage. It measures ages with the clock of the object store. Errors come from the
// bucket.
func (s *Bucket) FindGarbage(ctx context.Context, o Sweeping) (Garbage, error) {
	var g Garbage
	now, err := s.now(ctx)
	if err != nil {
		return g, err
	}
	needed, err := s.neededKeys(ctx, now.Add(-o.Grace))
	if err != nil {
		return g, err
	}
	before := now.Add(-o.Age)
	find := func(x bucket.Object) error {
		if !needed[x.Key] && x.LastModified.Before(before) {
			g.pending = g.pending || s.mayBePending(x.Key)
			g.Objects = append(g.Objects, x)
		}
		return nil
	}
	for _, prefix := range []string{blobsPrefix, journal.GenerationsDir, probePrefix} {
		if err := s.bucket.List(ctx, prefix, find); err != nil {
			return g, err
		}
	}
	err = s.bucket.Uploads(ctx, blobsPrefix, func(u bucket.Upload) error {
		if u.Begun.Before(before) {
			g.Uploads = append(g.Uploads, u)
		}
		return nil
	})
	return g, err
}

// now returns the time of the object store's clock. To get it, now writes a temporary object.
func (s *Bucket) now(ctx context.Context) (time.Time, error) {
	key := probePrefix + "clock-" + strings.Trim(strings.TrimPrefix(s.dir, journal.GenerationsDir), "/")
	if _, err := s.bucket.Put(ctx, key, strings.NewReader("now"), 3, bucket.PutOptions{}); err != nil {
		return time.Time{}, err
	}
	o, err := s.bucket.Stat(ctx, key)
	return o.LastModified, errors.Join(err, s.bucket.Delete(context.WithoutCancel(ctx), key))
}

// neededKeys returns the keys of all objects that are needed by the current generation, or by a
// generation that was current at the given time or later.
func (s *Bucket) neededKeys(ctx context.Context, since time.Time) (map[string]bool, error) {
	needed := map[string]bool{}
	key, g := s.pointer.Object, s.generation
	for {
		needed[key] = true
		for _, l := range g.Layouts {
			needed[l.Index.Key], needed[l.Blobs.Key] = true, true
		}
		for _, x := range g.Signed {
			needed[x.Inventory.Key], needed[x.Signature.Key] = true, true
		}
		blobs, err := s.keysOf(ctx, g)
		if err != nil {
			return nil, err
		}
		for key := range blobs {
			needed[key] = true
		}
		o, err := s.bucket.Stat(ctx, key)
		if err != nil {
			return nil, err
		}
		if g.Previous == "" || o.LastModified.Before(since) {
			return needed, nil
		}
		key = g.Previous
		if g, err = journal.ReadGeneration(ctx, s.bucket, key); errors.Is(err, fs.ErrNotExist) {
			return needed, nil // an earlier sweep has deleted this generation
		}
		if err != nil {
			return nil, err
		}
	}
}

// mayBePending reports whether a writer that is about to publish may need this object, although no
// generation needs it. This is possible for a blob, and for a part of a later generation.
func (s *Bucket) mayBePending(key string) bool {
	if _, _, isBlob := journal.ParseBlobKey(key); isBlob {
		return true
	}
	generation, ok := journal.GenerationOfKey(key)
	return ok && generation > s.pointer.Generation
}

// Sweep deletes garbage. If a running writer may use some of it, Sweep first begins a new epoch.
// Then Publish of that writer returns ErrLost, and no later writer uses the garbage. Errors are
// ErrLost and those of the bucket.
func (s *Bucket) Sweep(ctx context.Context, g Garbage) error {
	if g.pending {
		p := s.pointer
		p.Epoch++
		if err := s.movePointer(ctx, p); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	var failed error
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(maxRequests)
	add := func(err error) error {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
		return groupCtx.Err()
	}
	for _, o := range g.Objects {
		group.Go(func() error { return add(s.bucket.Delete(groupCtx, o.Key)) })
	}
	for _, u := range g.Uploads {
		group.Go(func() error { return add(s.bucket.Abort(groupCtx, u)) })
	}
	return errors.Join(group.Wait(), failed)
}
