package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// Bucket is a store in a bucket, opened by a writer. It has no lock. The pointer is the object that leads to
// the current generation. The first of two writers that moves the pointer wins, and [Bucket.Publish] of the
// other returns [ErrLost]. Readers see a writer's uploads only after this writer has moved the pointer.
type Bucket struct {
	bucket     bucket.Bucket
	pointer    journal.Pointer
	generation journal.Generation
	dir        string // prefix of the keys for the next generation

	mu    sync.Mutex
	blobs map[digest.Digest]blobObject // blobs that a layout may use; nil before FindBlobs is called
}

type blobObject struct {
	bucket.Object
	epoch uint32
}

// ErrLost reports that another writer has published first.
var ErrLost = errors.New("another writer has published first, so the changes of this writer are not visible")

// ErrNoConditions reports that the object store ignores the conditions of writes.
var ErrNoConditions = errors.New("the object store ignores the conditions of writes (If-Match, If-None-Match): two writers could undo each other's work")

// CheckCurrent returns ErrLost if another writer has published since the store was opened.
func (s *Bucket) CheckCurrent(ctx context.Context) error {
	now, err := journal.ReadPointer(ctx, s.bucket)
	if err == nil && now.ETag != s.pointer.ETag {
		return fmt.Errorf("%s: %w", s.bucket.Place(), ErrLost)
	}
	return err
}

// Pointer returns the pointer that this writer read when it opened the store, or wrote since then.
func (s *Bucket) Pointer() journal.Pointer { return s.pointer }

// Generation returns the generation to which the pointer leads.
func (s *Bucket) Generation() journal.Generation { return s.generation }

// FindBlobs lists the blobs that a layout may use, for [Bucket.Find]. They are the blobs of the current
// generation, and the blobs that writers have uploaded since the last sweep. Errors come from the bucket.
func (s *Bucket) FindBlobs(ctx context.Context) error {
	var old map[string]bool // keys of the current generation's blobs
	if s.pointer.Epoch > 0 {
		var err error
		if old, err = s.keysOf(ctx, s.generation); err != nil {
			return err
		}
	}
	s.blobs = map[digest.Digest]blobObject{}
	return s.bucket.List(ctx, blobsPrefix, func(o bucket.Object) error {
		d, epoch, ok := journal.ParseBlobKey(o.Key)
		if ok && (epoch == s.pointer.Epoch || old[o.Key]) {
			s.blobs[d] = blobObject{o, epoch}
		}
		return nil
	})
}

const blobsPrefix = "blobs/"

func (s *Bucket) keysOf(ctx context.Context, g journal.Generation) (map[string]bool, error) {
	keys := map[string]bool{}
	err := s.eachBlob(ctx, g, func(b journal.StoredBlob) { keys[b.Key()] = true })
	return keys, err
}

// eachBlob calls do for each blob of each layout of a generation, one call at a time.
func (s *Bucket) eachBlob(ctx context.Context, g journal.Generation, do func(journal.StoredBlob)) error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxRequests)
	for _, l := range g.Layouts {
		group.Go(func() error {
			blobs, err := s.blobsOf(ctx, l)
			mu.Lock()
			defer mu.Unlock()
			for _, b := range blobs {
				do(b)
			}
			return err
		})
	}
	return group.Wait()
}

// maxRequests is the maximum number of small requests that are sent at the same time.
const maxRequests = 16

func (s *Bucket) blobsOf(ctx context.Context, l journal.StoredLayout) ([]journal.StoredBlob, error) {
	list, err := l.Blobs.Read(ctx, s.bucket)
	if err != nil {
		return nil, err
	}
	var all []journal.StoredBlob
	err = journal.ParseBlobs(list, func(b journal.StoredBlob) error { all = append(all, b); return nil })
	return all, err
}

// Users returns, for each blob, how many layouts of the current generation contain it. Errors come
// from the bucket.
func (s *Bucket) Users(ctx context.Context) (map[digest.Digest]uint64, error) {
	users := map[digest.Digest]uint64{}
	err := s.eachBlob(ctx, s.generation, func(b journal.StoredBlob) { users[b.Digest]++ })
	return users, err
}

// Find returns the object of a blob if a layout may use it. Call [Bucket.FindBlobs] first.
func (s *Bucket) Find(d digest.Digest) (bucket.Object, bool) {
	o, ok := s.find(d)
	return o.Object, ok
}

func (s *Bucket) find(d digest.Digest) (blobObject, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.blobs[d]
	return o, ok
}

// OpenBlob opens the object of a blob.
func (s *Bucket) OpenBlob(ctx context.Context, o bucket.Object) (io.ReadCloser, error) {
	r, _, err := s.bucket.Get(ctx, o.Key, 0, -1, "")
	return r, err
}

// PutBlob uploads a blob. If its content does not have the digest d, body has to return an error
// instead of io.EOF, so that no object is created. Errors come from body and the bucket.
func (s *Bucket) PutBlob(ctx context.Context, d digest.Digest, body io.Reader, size int64) error {
	var sum string
	if d.Algorithm() == digest.SHA256 {
		sum = d.Encoded()
	}
	epoch := s.pointer.Epoch
	if damaged, ok := s.find(d); ok { // overwrite the damaged object
		epoch = damaged.epoch
	}
	o, err := s.bucket.Put(ctx, journal.BlobKey(d, epoch), body, size, bucket.PutOptions{SHA256: sum})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d] = blobObject{o, epoch}
	return nil
}

// HasSigned reports whether the current generation has this signed inventory.
func (s *Bucket) HasSigned(x Signed) bool { return slices.ContainsFunc(s.generation.Signed, x.is) }

// ReadIndex returns the index.json of a layout, or nil if there is no such layout.
func (s *Bucket) ReadIndex(ctx context.Context, at string) ([]byte, error) {
	i := slices.IndexFunc(s.generation.Layouts, func(l journal.StoredLayout) bool { return l.Path == at })
	if i < 0 {
		return nil, nil
	}
	return s.generation.Layouts[i].Index.Read(ctx, s.bucket)
}
