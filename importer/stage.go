package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// transfer proves the contents of a bundle, and stages those that the store does not have.
type transfer struct {
	plan    *plan
	session *session
	bufs    sync.Pool

	mu    sync.Mutex // protects blobs, and the plan's problems
	blobs Blobs
}

func (p *plan) newTransfer() *transfer {
	return &transfer{plan: p, session: p.session, bufs: sync.Pool{New: func() any { return new([bufferSize]byte) }}}
}

// eachContent calls do for each content. At most jobs calls run at the same time. It stops at the
// first error. If incomplete bundles are allowed, problems do not count as errors.
func (t *transfer) eachContent(ctx context.Context, jobs int, do func(context.Context, *content) error) error {
	if !t.session.begun { // report the start only once, although importWith may import twice
		t.session.begun = true
		var total int64
		for _, c := range t.plan.contents {
			total += c.size
		}
		t.session.options.Progress.Begin(len(t.plan.contents), total)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(jobs)
	for _, c := range t.plan.contents {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return do(ctx, c) })
	}
	return group.Wait()
}

// bufferSize is the number of bytes that are read and written at a time.
const bufferSize = 512 << 10

// stageContent proves a content, and stages it for each layout of the store that needs it.
func (t *transfer) stageContent(ctx context.Context, c *content) error {
	base, err := t.prove(ctx, c)
	if err != nil || !c.proven { // if err is nil, the import ignores the content's problem
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

// prove proves a content and its copies in the store. On success, it sets c.proven and, if a layout of the
// store needs the content, returns the path of a proven file in staging or in the store.
func (t *transfer) prove(ctx context.Context, c *content) (string, error) {
	for _, at := range c.places {
		name := publish.StagedPath(blobName(at, c.digest))
		if ok, err := t.staged(ctx, c, name); ok || err != nil {
			c.proven = ok
			t.planRepairs(c)
			return name, err
		}
	}
	write := len(c.places) > 0 && c.linkableFile() == ""
	for _, from := range c.copies {
		name, err := t.copy(ctx, c, from, write)
		if err == nil {
			c.size = from.size
			t.planRepairs(c)
			if !write {
				name = c.linkableFile()
			}
			if name == "" && len(c.places) > 0 { // the copies in the store are damaged
				name, err = t.copy(ctx, c, from, true)
			}
		}
		if err == nil {
			c.proven, c.from = true, from
			return name, nil
		}
		if err := t.addBad(ctx, c, from, err); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (t *transfer) planRepairs(c *content) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blobs.Repaired += t.plan.planRepairs(c)
}

// staged reports whether the file at name is an intact copy of the content. An interrupted import
// may have left such a file.
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

// copy reads and proves one copy of a content. If write is true, it also writes the copy to a
// temporary file in staging, and returns the file's path.
func (t *transfer) copy(ctx context.Context, c *content, from bundleCopy, write bool) (name string, err error) {
	where, err := from.layout.Locate(ctx, c.digest)
	if err != nil {
		return "", unreadable(ctx, err)
	}
	r, err := where.OpenOnce(ctx) // this read does not displace served content from the page cache
	if err != nil {
		return "", unreadable(ctx, err)
	}
	defer r.Close()
	if !write {
		return "", t.verify(ctx, r, nil, c, from.size)
	}
	return t.writeTemp(func(w io.Writer) error { return t.verify(ctx, r, w, c, from.size) })
}

func (t *transfer) writeTemp(write func(io.Writer) error) (name string, err error) {
	out, err := t.session.store.CreateTemp()
	if err != nil {
		return "", err
	}
	if err := errors.Join(write(out), out.Close()); err != nil {
		out.Discard()
		return "", err
	}
	t.count(func(b *Blobs) { b.Written++ })
	return out.Path(), nil
}

// place stages a proven content for one layout of the store. It makes a hard link to base. If the
// file system has no links, it makes a copy.
func (t *transfer) place(ctx context.Context, c *content, base, at string) error {
	name := publish.StagedPath(blobName(at, c.digest))
	if name == base {
		return nil
	}
	if err := t.session.store.MkdirAll(path.Dir(name)); err != nil {
		return err
	}
	if publish.IsTemporary(base) { // the first layout gets the temporary file itself
		if first := publish.StagedPath(blobName(c.places[0], c.digest)); name == first {
			return t.session.store.Rename(base, name)
		}
		base = publish.StagedPath(blobName(c.places[0], c.digest))
	}
	if info, err := t.session.store.Root().Lstat(base); err == nil && t.session.isLinkOf(info, name) {
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

// duplicate copies a staged file. It is used on file systems without hard links.
func (t *transfer) duplicate(ctx context.Context, c *content, base, name string) error {
	f, err := plainfile.OpenIn(t.session.store.Root(), base)
	if err != nil {
		return err
	}
	defer f.Close()
	temp, err := t.writeTemp(func(w io.Writer) error { return t.read(ctx, f, w, c.digest, c.size, &comparison{}) })
	if err != nil {
		return err
	}
	return t.session.store.Rename(temp, name)
}

func (t *transfer) count(add func(*Blobs)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	add(&t.blobs)
}
