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

// WriterAge is how old an object must be that nothing names before a sweep deletes it: a writer that has not published
// yet may have uploaded a younger one.
const WriterAge = 24 * time.Hour

// Sweeping says what a sweep finds.
type Sweeping struct {
	// Age is how old an object must be that nothing names.
	Age time.Duration
	// Grace is for how long a generation keeps its blobs after another one has followed: for replicas that have not seen
	// that yet, and for running pulls.
	Grace time.Duration
}

// Garbage is what no generation names that anybody may still read, and what no writer may still need.
type Garbage struct {
	Objects []bucket.Object
	Uploads []bucket.Upload // that came to no end

	pending bool // a writer that has not published may rely on some of the objects
}

// FindGarbage finds garbage. The clock is that of the object store. Errors: those of the bucket.
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

// now returns the time of the object store's clock, with which it stamps objects.
func (s *Bucket) now(ctx context.Context) (time.Time, error) {
	key := probePrefix + "clock-" + strings.Trim(strings.TrimPrefix(s.dir, journal.GenerationsDir), "/")
	if _, err := s.bucket.Put(ctx, key, strings.NewReader("now"), 3, bucket.PutOptions{}); err != nil {
		return time.Time{}, err
	}
	o, err := s.bucket.Stat(ctx, key)
	return o.LastModified, errors.Join(err, s.bucket.Delete(context.WithoutCancel(ctx), key))
}

// neededKeys returns the keys of everything that the present generation has, and those whose successors came later than a time.
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
			return needed, nil // an earlier sweep has deleted it
		}
		if err != nil {
			return nil, err
		}
	}
}

// mayBePending reports whether a writer that started from the present generation may be about to publish an object that
// nothing names: a blob, or a part of the next generation.
func (s *Bucket) mayBePending(key string) bool {
	if _, _, isBlob := journal.ParseBlobKey(key); isBlob {
		return true
	}
	generation, ok := journal.GenerationOfKey(key)
	return ok && generation > s.pointer.Generation
}

// Sweep deletes garbage. If a writer may rely on some of it, it begins another epoch first: then every such writer fails
// with ErrLost, and no later writer relies on any of it. Errors: ErrLost; those of the bucket.
func (s *Bucket) Sweep(ctx context.Context, g Garbage) error {
	if g.pending {
		p := s.pointer
		p.Epoch++
		p, err := p.Write(ctx, s.bucket, &s.pointer)
		if errors.Is(err, bucket.ErrChanged) {
			return ErrLost
		}
		if err != nil {
			return err
		}
		s.pointer = p
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
