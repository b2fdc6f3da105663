package layoutstore

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// maxBucketReads is the maximum number of concurrent requests while a generation is loaded.
const maxBucketReads = 16

// load loads a generation into the volume. It reads the blob list of each new layout, and lists
// which blobs exist in the bucket. The error is the context's, the bucket's, or about an invalid blob
// list. After an error, the volume is unchanged.
func (v *bucketVolume) load(ctx context.Context, g journal.Generation) error {
	next := make(map[string]*bucketLayout, len(g.Layouts))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(maxBucketReads)
	for _, stored := range g.Layouts {
		l := &bucketLayout{StoredLayout: stored}
		next[stored.Path] = l
		if old := v.layout(stored.Path); old != nil && old.Blobs.Key == stored.Blobs.Key {
			l.blobs = slices.Clone(old.blobs)
			continue
		}
		group.Go(func() (err error) {
			l.blobs, err = readBlobList(groupCtx, v.bucket, stored.Blobs)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	total := 0
	for _, l := range next {
		total += len(l.blobs)
	}
	existing, err := listBlobs(ctx, v.bucket, total)
	if err != nil {
		return err
	}
	missing := false
	for _, l := range next {
		for i, b := range l.blobs {
			l.blobs[i].place &^= isMissing
			if _, ok := slices.BinarySearchFunc(existing, b, bucketBlob.compare); !ok {
				l.blobs[i].place |= isMissing
				missing = true
			}
		}
	}
	v.layouts.Store(&next)
	v.missing.Store(missing)
	return nil
}

// readBlobList reads the list of the blobs in a layout, and sorts it.
func readBlobList(ctx context.Context, b bucket.Reader, list journal.StoredObject) ([]bucketBlob, error) {
	data, err := list.Read(ctx, b)
	if err != nil {
		return nil, err
	}
	var blobs []bucketBlob
	err = journal.ParseBlobs(data, func(stored journal.StoredBlob) error {
		blob, err := newBucketBlob(stored.Digest, stored.Size, stored.Epoch)
		blobs = append(blobs, blob)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", b.Place(), list.Key, err)
	}
	slices.SortFunc(blobs, bucketBlob.compare)
	return slices.Clip(blobs), nil
}

// onePage is the number of keys that the bucket lists in one answer.
const onePage = 1000

// listBlobs lists the blobs that exist in a bucket, sorted. If more than one page is expected, it
// lists several prefixes concurrently.
func listBlobs(ctx context.Context, b bucket.Reader, expected int) ([]bucketBlob, error) {
	prefixes := []string{"blobs/"}
	if expected > onePage {
		prefixes = []string{names.BlobDir("sha384") + "/", names.BlobDir("sha512") + "/"}
		for _, digit := range "0123456789abcdef" {
			prefixes = append(prefixes, names.BlobDir("sha256")+"/"+string(digit))
		}
	}
	var mu sync.Mutex
	var all []bucketBlob
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxBucketReads)
	for _, prefix := range prefixes {
		group.Go(func() error {
			var found []bucketBlob
			err := b.List(ctx, prefix, func(o bucket.Object) error {
				if d, epoch, ok := journal.ParseBlobKey(o.Key); ok {
					if blob, err := newBucketBlob(d, o.Size, epoch); err == nil {
						found = append(found, blob)
					}
				}
				return nil
			})
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(all, bucketBlob.compare)
	return all, nil
}
