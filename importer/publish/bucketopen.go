package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// OpenBucket opens a store in a bucket for writing. It creates the store if it does not exist. If the object
// store ignores the conditions of writes, the error is ErrNoConditions. Other errors come from the bucket or
// report a malformed store.
func OpenBucket(ctx context.Context, b bucket.Bucket) (*Bucket, error) {
	if err := probe(ctx, b); err != nil {
		return nil, err
	}
	pointer, err := journal.ReadPointer(ctx, b)
	if errors.Is(err, journal.ErrNotStore) {
		pointer, err = create(ctx, b)
	}
	if err != nil {
		return nil, err
	}
	return openAt(ctx, b, pointer)
}

// ReadBucket opens a store in a bucket, and changes nothing. Call [Bucket.Probe] before the first change. If
// there is no store, the error is journal.ErrNotStore. Other errors come from the bucket or report a
// malformed store.
func ReadBucket(ctx context.Context, b bucket.Bucket) (*Bucket, error) {
	pointer, err := journal.ReadPointer(ctx, b)
	if err != nil {
		return nil, err
	}
	return openAt(ctx, b, pointer)
}

// Probe checks whether the object store refuses a write if the write's condition is not met. If it accepts
// such a write, the error is ErrNoConditions. Other errors come from the bucket.
func (s *Bucket) Probe(ctx context.Context) error { return probe(ctx, s.bucket) }

// Place returns the place of the store, such as s3://bucket/prefix.
func (s *Bucket) Place() string { return s.bucket.Place() }

func openAt(ctx context.Context, b bucket.Bucket, pointer journal.Pointer) (*Bucket, error) {
	generation, err := journal.ReadGeneration(ctx, b, pointer.Object)
	if err != nil {
		return nil, err
	}
	return &Bucket{bucket: b, pointer: pointer, generation: generation, dir: journal.NewGenerationDir(pointer.Generation + 1)}, nil
}

// create creates an empty store, and returns its pointer. If another writer was faster, it returns that
// writer's pointer.
func create(ctx context.Context, b bucket.Bucket) (journal.Pointer, error) {
	if _, err := b.Stat(ctx, journal.StateFile); err == nil {
		if p, err := journal.ReadPointer(ctx, b); !errors.Is(err, journal.ErrNotStore) {
			return p, err
		}
		return journal.Pointer{}, fmt.Errorf("%s contains a copy of a store from a directory, or another file named %s: import into a different prefix", b.Place(), journal.StateFile)
	}
	key, err := journal.Generation{Format: journal.Format}.Write(ctx, b, journal.NewGenerationDir(0))
	if err != nil {
		return journal.Pointer{}, err
	}
	p, err := journal.Pointer{Format: journal.Format, Object: key}.Write(ctx, b, nil)
	if errors.Is(err, bucket.ErrChanged) {
		return journal.ReadPointer(ctx, b)
	}
	return p, err
}

// probePrefix is the key prefix of temporary objects, which are written and deleted again to test the object
// store.
const probePrefix = journal.Dir + "/probe-"

// probe writes a temporary object to check whether the object store refuses a write if its condition is not
// met.
func probe(ctx context.Context, b bucket.Bucket) error {
	key := probePrefix + path.Base(journal.NewGenerationDir(0))
	write := func(text string, o bucket.PutOptions) (bucket.Object, error) {
		return b.Put(ctx, key, strings.NewReader(text), int64(len(text)), o)
	}
	first, err := write("first", bucket.PutOptions{IfAbsent: true})
	if err != nil {
		return fmt.Errorf("writing a temporary object to the store: %w", err)
	}
	defer func() { _ = b.Delete(context.WithoutCancel(ctx), key) }() // on error, a later sweep deletes the object
	if _, err := write("second", bucket.PutOptions{IfAbsent: true}); !errors.Is(err, bucket.ErrChanged) {
		return cmp.Or(err, ErrNoConditions)
	}
	other := digest.FromString("no object has this text").Encoded()[:32] // an ETag is as long as an MD5 sum
	if _, err := write("third", bucket.PutOptions{IfMatch: other}); !errors.Is(err, bucket.ErrChanged) {
		return cmp.Or(err, ErrNoConditions)
	}
	_, err = write("fourth", bucket.PutOptions{IfMatch: first.ETag})
	return err
}
