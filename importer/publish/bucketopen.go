package publish

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// OpenBucket opens a store in a bucket for writing. It probes whether the object store heeds conditions, and creates the
// store if there is none. Errors: ErrNoConditions; those of the bucket; that the store is malformed.
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

// ReadBucket opens a store in a bucket and changes nothing. Call [Bucket.Probe] before the first change. Errors: journal.ErrNotStore;
// those of the bucket; that the store is malformed.
func ReadBucket(ctx context.Context, b bucket.Bucket) (*Bucket, error) {
	pointer, err := journal.ReadPointer(ctx, b)
	if err != nil {
		return nil, err
	}
	return openAt(ctx, b, pointer)
}

// Probe finds out whether the object store refuses a write whose condition does not hold. Errors: ErrNoConditions; those of
// the bucket.
func (s *Bucket) Probe(ctx context.Context) error { return probe(ctx, s.bucket) }

// Place returns the place of the store, as s3://bucket/prefix.
func (s *Bucket) Place() string { return s.bucket.Place() }

func openAt(ctx context.Context, b bucket.Bucket, pointer journal.Pointer) (*Bucket, error) {
	s := &Bucket{bucket: b, pointer: pointer}
	var err error
	if s.generation, err = journal.ReadGeneration(ctx, b, s.pointer.Object); err != nil {
		return nil, err
	}
	s.dir = journal.NewGenerationDir(s.pointer.Generation + 1)
	return s, nil
}

// create creates an empty store, or returns the pointer of a writer that was faster.
func create(ctx context.Context, b bucket.Bucket) (journal.Pointer, error) {
	if _, err := b.Stat(ctx, journal.StateFile); err == nil {
		if p, err := journal.ReadPointer(ctx, b); !errors.Is(err, journal.ErrNotStore) {
			return p, err
		}
		return journal.Pointer{}, fmt.Errorf("%s is the copy of the store of a directory, or another file of that name: import into another prefix", b.Place())
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

// probePrefix is that of the objects that a probe writes and deletes.
const probePrefix = journal.Dir + "/probe-"

// probe finds out whether the store refuses a write whose condition does not hold.
func probe(ctx context.Context, b bucket.Bucket) error {
	key := probePrefix + path.Base(journal.NewGenerationDir(0))
	write := func(text string, o bucket.PutOptions) (bucket.Object, error) {
		return b.Put(ctx, key, strings.NewReader(text), int64(len(text)), o)
	}
	first, err := write("first", bucket.PutOptions{IfAbsent: true})
	if err != nil {
		return fmt.Errorf("a first write to the store: %w", err)
	}
	defer func() { _ = b.Delete(context.WithoutCancel(ctx), key) }() // a sweep removes it otherwise
	if _, err := write("second", bucket.PutOptions{IfAbsent: true}); !errors.Is(err, bucket.ErrChanged) {
		return cmpError(err, ErrNoConditions)
	}
	other := digest.FromString("no object has this").Encoded()[:32] // as long as an MD5 sum
	if _, err := write("third", bucket.PutOptions{IfMatch: other}); !errors.Is(err, bucket.ErrChanged) {
		return cmpError(err, ErrNoConditions)
	}
	_, err = write("fourth", bucket.PutOptions{IfMatch: first.ETag})
	return err
}

func cmpError(err, otherwise error) error {
	if err == nil {
		return otherwise
	}
	return err
}
