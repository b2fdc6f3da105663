package importer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

type badError struct{ error }

func (e *badError) Unwrap() error { return e.error }

// unreadable turns an error from reading the bundle into a badError, unless ctx ended or a retry may succeed.
func unreadable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, layoutstore.ErrStale) || layoutstore.IsExhausted(err) {
		return err
	}
	return &badError{err}
}

// verify reads a copy to its end. If out is not nil, verify writes the content to it. If the digest
// or the size does not match, verify fails with a badError. It also compares the store's copies
// with this copy.
func (t *transfer) verify(ctx context.Context, r io.Reader, out io.Writer, c *content, size int64) error {
	first := c.existing[:min(len(c.existing), maxCompared)]
	x, err := t.session.compareWith(ctx, c, first)
	if err != nil {
		return err
	}
	defer x.close()
	buf := t.bufs.Get().(*[bufferSize]byte)
	defer t.bufs.Put(buf)
	x.buf = buf[:]
	if err := t.read(ctx, r, out, c.digest, size, x); err != nil {
		return err
	}
	for _, e := range c.existing[len(first):] {
		if err := t.proveExisting(ctx, c, e); err != nil {
			return err
		}
	}
	return nil
}

// proveExisting verifies the digest of a copy in the store without comparing it with another copy.
func (t *transfer) proveExisting(ctx context.Context, c *content, e *existingCopy) error {
	r, err := t.session.openExisting(ctx, c, e)
	if r == nil {
		return err
	}
	defer r.Close()
	var bad *badError
	err = t.read(ctx, r, nil, c.digest, c.size, &comparison{})
	if e.wrong = err != nil; errors.As(err, &bad) || errors.Is(err, layoutstore.ErrStale) {
		return nil
	}
	return err
}

// read reads r to its end, and checks its digest and size. It compares the content with the copies
// of x. If out is not nil, read writes the content to out.
func (t *transfer) read(ctx context.Context, r io.Reader, out io.Writer, d digest.Digest, size int64, x *comparison) error {
	buf := t.bufs.Get().(*[bufferSize]byte)
	defer t.bufs.Put(buf)
	hash := d.Algorithm().Hash()
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := r.Read(buf[:])
		hash.Write(buf[:m])
		n += int64(m)
		t.session.options.Progress.Read(m)
		x.next(buf[:m])
		if m > 0 && out != nil {
			if _, err := out.Write(buf[:m]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return unreadable(ctx, err)
		}
	}
	x.end()
	t.count(func(b *Blobs) { b.Bytes += n })
	if got := digest.NewDigest(d.Algorithm(), hash); got != d || n != size {
		return &badError{fmt.Errorf("checksum mismatch: content is %s", got)}
	}
	return nil
}

// addBad records a damaged copy if err is a badError. Then it returns nil if incomplete bundles are
// allowed, and otherwise an *IncompleteError. If ctx ends meanwhile, it returns the cause. If err
// is not a badError, it returns err.
func (t *transfer) addBad(ctx context.Context, c *content, from bundleCopy, err error) error {
	var bad *badError
	if !errors.As(err, &bad) {
		return err
	}
	p := layoutstore.Problem{Kind: layoutstore.Damaged, Digest: c.digest, Reason: bad.Error(), Transient: layoutstore.IsTransient(bad)}
	p.Path, p.Entry = from.layout.WhereBlob(c.digest)
	if p.Chunks, err = from.layout.Chunks(ctx, c.digest); err != nil {
		return err
	}
	p = inRepository(c.owner.repo, c.owner.tagsTo(c.digest), p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plan.problems.add(p)
	if t.session.options.AllowIncomplete {
		return nil
	}
	return &IncompleteError{[]layoutstore.Problem{p}}
}

func (r repository) tagsTo(d digest.Digest) []string {
	for _, m := range r.graph.Manifests {
		if m.Digest == d {
			return m.TagsTo()
		}
	}
	for _, b := range r.graph.Blobs {
		if b.Digest == d {
			return b.TagsTo()
		}
	}
	return nil
}
