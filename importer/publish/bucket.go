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

// Bucket is a store in a bucket, as one writer has found it. Nothing locks it: of two writers the one that moves the
// pointer first wins, and the other one's [Bucket.Publish] fails with [ErrLost]. Until then no reader sees anything of
// what a writer uploads.
type Bucket struct {
	bucket     bucket.Bucket
	pointer    journal.Pointer
	generation journal.Generation
	dir        string // of keys for the next generation

	mu   sync.Mutex
	free map[digest.Digest]bucket.Object // blobs that a layout may have from now on, by the objects that have them
	have map[digest.Digest]uint32        // epochs of these objects
}

// ErrLost reports that another writer has published first.
var ErrLost = errors.New("another writer has published first, and nothing that this one has written is visible")

// ErrNoConditions reports a store that ignores the conditions of writes.
var ErrNoConditions = errors.New("the object store ignores the conditions of writes (If-Match, If-None-Match): two writers could undo each other's work")

// CheckCurrent fails with ErrLost if another writer has published since the store was opened.
func (s *Bucket) CheckCurrent(ctx context.Context) error {
	now, err := journal.ReadPointer(ctx, s.bucket)
	if err == nil && now.ETag != s.pointer.ETag {
		return fmt.Errorf("%s: %w", s.bucket.Place(), ErrLost)
	}
	return err
}

// Pointer returns the pointer as this writer has found it.
func (s *Bucket) Pointer() journal.Pointer { return s.pointer }

// Generation returns the generation that the writer starts from.
func (s *Bucket) Generation() journal.Generation { return s.generation }

// FindBlobs lists the blobs in the bucket. Afterwards [Bucket.Find] knows those that a layout may rely on: the ones that
// the generation has, and those that a writer has uploaded since the last sweep. Errors: those of the bucket.
func (s *Bucket) FindBlobs(ctx context.Context) error {
	var old map[string]bool // keys of the generation
	if s.pointer.Epoch > 0 {
		var err error
		if old, err = s.keysOf(ctx, s.generation); err != nil {
			return err
		}
	}
	s.free, s.have = map[digest.Digest]bucket.Object{}, map[digest.Digest]uint32{}
	return s.bucket.List(ctx, blobsPrefix, func(o bucket.Object) error {
		d, epoch, ok := journal.ParseBlobKey(o.Key)
		if ok && (epoch == s.pointer.Epoch || old[o.Key]) {
			s.free[d], s.have[d] = o, epoch
		}
		return nil
	})
}

const blobsPrefix = "blobs/"

// keysOf returns the keys of the blobs of a generation.
func (s *Bucket) keysOf(ctx context.Context, g journal.Generation) (map[string]bool, error) {
	keys := map[string]bool{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxRequests)
	for _, l := range g.Layouts {
		group.Go(func() error {
			blobs, err := s.blobsOf(ctx, l)
			mu.Lock()
			defer mu.Unlock()
			for _, b := range blobs {
				keys[b.Key()] = true
			}
			return err
		})
	}
	return keys, group.Wait()
}

// maxRequests bounds the small requests at a time.
const maxRequests = 16

// blobsOf reads the list of blobs of a layout.
func (s *Bucket) blobsOf(ctx context.Context, l journal.StoredLayout) ([]journal.StoredBlob, error) {
	list, err := l.Blobs.Read(ctx, s.bucket)
	if err != nil {
		return nil, err
	}
	var all []journal.StoredBlob
	err = journal.ParseBlobs(list, func(b journal.StoredBlob) error { all = append(all, b); return nil })
	return all, err
}

// Users counts the layouts of the generation that have each blob. Errors: those of the bucket.
func (s *Bucket) Users(ctx context.Context) (map[digest.Digest]uint64, error) {
	users := map[digest.Digest]uint64{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxRequests)
	for _, l := range s.generation.Layouts {
		group.Go(func() error {
			blobs, err := s.blobsOf(ctx, l)
			mu.Lock()
			defer mu.Unlock()
			for _, b := range blobs {
				users[b.Digest]++
			}
			return err
		})
	}
	return users, group.Wait()
}

// Find returns the object of a blob that a layout may rely on.
func (s *Bucket) Find(d digest.Digest) (bucket.Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.free[d]
	return o, ok
}

// OpenBlob opens the object of a blob.
func (s *Bucket) OpenBlob(ctx context.Context, o bucket.Object) (io.ReadCloser, error) {
	r, _, err := s.bucket.Get(ctx, o.Key, 0, -1, "")
	return r, err
}

// PutBlob uploads a blob. The body has to fail in place of its last bytes if it has not the digest: then the object
// does not come into being. Errors: that of the body; those of the bucket.
func (s *Bucket) PutBlob(ctx context.Context, d digest.Digest, body io.Reader, size int64) error {
	var sum string
	if d.Algorithm() == digest.SHA256 {
		sum = d.Encoded()
	}
	epoch := s.pointer.Epoch
	if _, ok := s.Find(d); ok { // a damaged object is written again under its name
		epoch = s.epochOf(d)
	}
	o, err := s.bucket.Put(ctx, journal.BlobKey(d, epoch), body, size, bucket.PutOptions{SHA256: sum})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free[d], s.have[d] = o, epoch
	return nil
}

func (s *Bucket) epochOf(d digest.Digest) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have[d]
}

// HasSigned reports whether the generation has a signed inventory.
func (s *Bucket) HasSigned(x Signed) bool { return slices.ContainsFunc(s.generation.Signed, x.is) }

// ReadIndex reads the index of a layout; it is nil if there is no such layout.
func (s *Bucket) ReadIndex(ctx context.Context, at string) ([]byte, error) {
	i := slices.IndexFunc(s.generation.Layouts, func(l journal.StoredLayout) bool { return l.Path == at })
	if i < 0 {
		return nil, nil
	}
	data, err := s.generation.Layouts[i].Index.Read(ctx, s.bucket)
	return data, err
}
