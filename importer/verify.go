package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// badError says that a copy is not what it has to be.
type badError struct{ error }

func (e *badError) Unwrap() error { return e.error }

// unreadable is an error of reading the bundle.
func unreadable(err error) error {
	if errors.Is(err, layoutstore.ErrStale) || layoutstore.IsExhausted(err) {
		return err
	}
	return &badError{err}
}

// verify reads a copy to its end, writes it to out if that is not nil, and fails with a
// badError if it has not the content's digest and this size. It finds which copies of the
// store are the same.
func (t *transfer) verify(ctx context.Context, r io.Reader, out io.Writer, c *content, size int64) error {
	first := c.existing[:min(len(c.existing), maxCompared)]
	x, err := t.session.compareWith(c, first)
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

// proveExisting reads a copy of the store by itself.
func (t *transfer) proveExisting(ctx context.Context, c *content, e *existingCopy) error {
	r, err := t.session.open(c, e)
	if layoutstore.IsExhausted(err) {
		return err
	}
	e.wrong = err != nil
	if err != nil {
		return nil
	}
	defer r.Close()
	var bad *badError
	err = t.read(ctx, r, nil, c.digest, c.size, &comparing{})
	if e.wrong = err != nil; errors.As(err, &bad) || errors.Is(err, layoutstore.ErrStale) {
		return nil
	}
	return err
}

// read reads r to its end, and compares copies with it.
func (t *transfer) read(ctx context.Context, r io.Reader, out io.Writer, d digest.Digest, size int64, x *comparing) error {
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
			return unreadable(err)
		}
	}
	x.end()
	t.count(func(b *Blobs) { b.Bytes += n })
	if got := digest.NewDigest(d.Algorithm(), hash); got != d || n != size {
		return &badError{fmt.Errorf("its bytes are those of %s", got)}
	}
	return nil
}

// addBad notes that a copy is bad. The error is nil where that is allowed.
func (t *transfer) addBad(c *content, from bundleCopy, cause *badError) error {
	p := layoutstore.Problem{Kind: layoutstore.Damaged, Digest: c.digest, Reason: cause.Error(), Transient: layoutstore.IsTransient(cause)}
	p.Path, p.Entry = blobPlace(from.layout, c.digest)
	p.Chunks = from.layout.Chunks(c.digest)
	p = t.plan.of(c, p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plan.problems.add(p)
	if t.session.options.AllowIncomplete {
		return nil
	}
	return &GapError{[]layoutstore.Problem{p}}
}

// of names whose problem it is: the first repository that has the content, and its tags
// that lead to it.
func (p *plan) of(c *content, problem layoutstore.Problem) layoutstore.Problem {
	i := slices.IndexFunc(p.repositories, func(r repository) bool { return r.path == c.repo })
	r := p.repositories[i]
	return inRepository(r.repo, r.tagsTo(c.digest), problem)
}

// tagsTo are the tags of a repository that lead to a digest.
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
