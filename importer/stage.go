package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// transfer proves the contents of a bundle, and stages those that the store lacks.
type transfer struct {
	plan    *plan
	session *session
	bufs    sync.Pool

	mu    sync.Mutex // guards blobs and the survey's gaps
	blobs Blobs
}

// transfer makes the staging of a plan.
func (p *plan) transfer() *transfer {
	return &transfer{plan: p, session: p.session, bufs: sync.Pool{New: func() any { return new([bufferSize]byte) }}}
}

// stage reads each content once. The first gap ends it, unless gaps are allowed.
func (t *transfer) stage(ctx context.Context) error {
	t.begin()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(t.session.options.Jobs)
	for _, c := range t.plan.contents {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return t.content(ctx, c) })
	}
	return group.Wait()
}

// begin says how much there is to do.
func (t *transfer) begin() {
	if t.session.begun {
		return // it is done a second time, as something has changed
	}
	t.session.begun = true
	var total int64
	for _, c := range t.plan.contents {
		total += c.size
	}
	t.session.options.Progress.Begin(len(t.plan.contents), total)
}

// bufferSize is how much is read and written at a time.
const bufferSize = 512 << 10

// content proves one content, and stages it in each place that lacks it or has it wrong.
func (t *transfer) content(ctx context.Context, c *content) error {
	base, err := t.prove(ctx, c)
	if err != nil || !c.proven { // a gap, which is allowed
		return err
	}
	t.count(func(b *Blobs) {
		b.Verified++
		if len(c.places) == 0 {
			b.Present++
		}
	})
	for _, at := range c.places {
		if err := t.place(ctx, c, base, at); err != nil {
			return fmt.Errorf("staging %s of %s: %w", c.digest, at, err)
		}
	}
	return nil
}

// prove proves a content and the copies that the store has of it, and returns where it
// is in the store, staged or not: empty if nothing lacks it.
func (t *transfer) prove(ctx context.Context, c *content) (string, error) {
	for _, at := range c.places {
		name := publish.StagedPath(blobName(at, c.digest))
		if ok, err := t.staged(ctx, c, name); ok || err != nil {
			c.proven = ok
			t.settle(c)
			return name, err
		}
	}
	write := len(c.places) > 0 && !c.linkable()
	for _, from := range c.copies {
		name, err := t.copy(ctx, c, from, write)
		if err == nil && name == "" {
			c.size = from.size
			t.settle(c)
			if name = c.base(); name == "" && len(c.places) > 0 { // the store's copies are wrong
				name, err = t.copy(ctx, c, from, true)
			}
		} else if err == nil {
			c.size = from.size
			t.settle(c)
		}
		var bad *badError
		switch {
		case errors.As(err, &bad):
			if err := t.bad(c, from, bad); err != nil {
				return "", err
			}
			continue
		case err != nil:
			return "", err
		}
		c.proven, c.from = true, from
		return name, nil
	}
	return "", nil
}

// settle notes what of the store has to be replaced.
func (t *transfer) settle(c *content) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blobs.Repaired += t.plan.settle(c)
}

// staged says whether an import that was interrupted has left the content at name.
func (t *transfer) staged(ctx context.Context, c *content, name string) (bool, error) {
	f, err := plainfile.OpenIn(t.session.store.Root(), name)
	if err != nil {
		return false, nil
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() == c.size {
		err := t.verify(ctx, f, nil, c, c.size)
		var bad *badError
		if err == nil || !errors.As(err, &bad) {
			return err == nil, err
		}
	}
	return false, t.session.store.RemoveAll(name)
}

// copy reads one copy of a content, and writes it to a temporary file of staging if
// that is asked for.
func (t *transfer) copy(ctx context.Context, c *content, from copyOf, write bool) (name string, err error) {
	where, err := from.layout.Locate(c.digest)
	if err != nil {
		return "", unreadable(err)
	}
	r, err := where.OpenOnce() // what is served from the same disk stays in memory
	if err != nil {
		return "", unreadable(err)
	}
	defer r.Close()
	if !write {
		return "", t.verify(ctx, r, nil, c, from.size)
	}
	out, err := t.session.store.CreateTemp()
	if err != nil {
		return "", err
	}
	if err := errors.Join(t.verify(ctx, r, out, c, from.size), out.Close()); err != nil {
		out.Discard()
		return "", err
	}
	t.count(func(b *Blobs) { b.Written++ })
	return out.Path(), nil
}

// badError says that a copy is not what it has to be.
type badError struct{ error }

func (e *badError) Unwrap() error { return e.error }

// unreadable is an error of reading the bundle.
func unreadable(err error) error {
	if errors.Is(err, layoutstore.ErrStale) || layoutstore.Exhausted(err) {
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
	if layoutstore.Exhausted(err) {
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

// bad notes that a copy is bad. The error is nil where that is allowed.
func (t *transfer) bad(c *content, from copyOf, cause *badError) error {
	p := layoutstore.Problem{Kind: layoutstore.Damaged, Digest: c.digest, Reason: cause.Error(), Passing: layoutstore.Passing(cause)}
	p.Path, p.Entry = blobPlace(from.layout, c.digest)
	p.Chunks = from.layout.Chunks(c.digest)
	p = t.plan.of(c, p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plan.gaps.add(p)
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
	return of(r.repo, r.tagsTo(c.digest), problem)
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

// place stages a proven content for one layout of the store: by a link to base, or
// a copy where there are no links.
func (t *transfer) place(ctx context.Context, c *content, base, at string) error {
	name := publish.StagedPath(blobName(at, c.digest))
	if name == base {
		return nil
	}
	if err := t.session.store.MkdirAll(path.Dir(name)); err != nil {
		return err
	}
	if publish.IsTemporary(base) { // the first place gets the file itself
		if first := publish.StagedPath(blobName(c.places[0], c.digest)); name == first {
			return t.session.store.Rename(base, name)
		}
		base = publish.StagedPath(blobName(c.places[0], c.digest))
	}
	if t.same(base, name) {
		return nil
	}
	err := t.session.store.RemoveAll(name)
	if err == nil {
		err = t.session.store.Link(base, name)
	}
	if err == nil {
		t.count(func(b *Blobs) { b.Linked++ })
		return nil
	}
	if !noLinks(err) {
		return err
	}
	return t.duplicate(ctx, c, base, name)
}

// same says whether two names are one file.
func (t *transfer) same(a, b string) bool {
	x, err := t.session.store.Root().Lstat(a)
	if err != nil {
		return false
	}
	y, err := t.session.store.Root().Lstat(b)
	return err == nil && os.SameFile(x, y)
}

// duplicate copies what is staged, where the file system has no links.
func (t *transfer) duplicate(ctx context.Context, c *content, base, name string) error {
	f, err := plainfile.OpenIn(t.session.store.Root(), base)
	if err != nil {
		return err
	}
	defer f.Close()
	out, err := t.session.store.CreateTemp()
	if err != nil {
		return err
	}
	if err := errors.Join(t.read(ctx, f, out, c.digest, c.size, &comparing{}), out.Close()); err != nil {
		out.Discard()
		return err
	}
	t.count(func(b *Blobs) { b.Written++ })
	return t.session.store.Rename(out.Path(), name)
}

func (t *transfer) count(add func(*Blobs)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	add(&t.blobs)
}
