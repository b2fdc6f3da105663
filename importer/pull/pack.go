package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

const (
	// nearlyDone is how much of a blob may be left, in bytes, when a pull is
	// interrupted, for it to be fetched to its end.
	nearlyDone = 16 << 20
	// grace is how long that may take.
	grace = 5 * time.Second
)

// need is a blob that some archives need.
type need struct {
	closure.Descriptor
	layout       string   // a path in the bundle that has it
	repositories []string // in the source
	archives     []*packed

	where extent.List // where it lies in an older archive; nil if it is to be fetched
}

// packed is an archive that is to be written.
type packed struct {
	*Archive
	needs   []*need
	missing atomic.Int64 // blobs that are not there yet
}

// carry fetches what the archives need and writes each as soon as its blobs are there.
func (r *run) carry(ctx context.Context, todo []*Archive) error {
	archives, needs := needsOf(todo)
	var total int64
	for _, n := range needs {
		total += n.Size
	}
	r.watch.Phase("fetching", total)
	c := &carrier{run: r, ready: make(chan *packed, len(archives)), uses: map[digest.Digest]int{}}
	c.fetcher = fetcher{r.Registry, r.work, r.watch}
	for _, n := range needs {
		c.uses[n.Digest] = len(n.archives)
	}
	return c.carry(ctx, archives, needs)
}

// needsOf are the blobs of archives, each once, those of the first archive first.
func needsOf(todo []*Archive) (archives []*packed, needs []*need) {
	byDigest := map[digest.Digest]*need{}
	for _, a := range todo {
		p := &packed{Archive: a}
		archives = append(archives, p)
		for _, l := range a.Layouts {
			for _, b := range l.blobs {
				n := byDigest[b.Digest]
				if n == nil {
					n = &need{Descriptor: b, layout: l.Path}
					byDigest[b.Digest] = n
					needs = append(needs, n)
				}
				n.repositories = appendNew(n.repositories, l.Repository)
				if !slices.Contains(n.archives, p) {
					n.archives = append(n.archives, p)
					p.needs = append(p.needs, n)
				}
			}
		}
		p.missing.Store(int64(len(p.needs)))
	}
	return archives, needs
}

// carrier fetches and packs.
type carrier struct {
	*run
	fetcher fetcher
	ready   chan *packed

	mu   sync.Mutex
	gaps []Gap
	uses map[digest.Digest]int // archives that are not packed yet
}

func (c *carrier) carry(ctx context.Context, archives []*packed, needs []*need) error {
	for _, a := range archives {
		if a.missing.Load() == 0 { // of empty layouts
			c.ready <- a
		}
	}
	// What is nearly done goes on for a while after the context has ended.
	hard, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, stop) })()
	group, hard := errgroup.WithContext(hard)
	group.Go(func() error {
		for a := range c.ready {
			if err := c.pack(ctx, a); err != nil {
				return fmt.Errorf("%s: %w", a.Name, err)
			}
		}
		return nil
	})
	group.Go(func() error {
		defer close(c.ready)
		fetches, hard := errgroup.WithContext(hard)
		fetches.SetLimit(c.Jobs)
		for _, n := range needs {
			if ctx.Err() != nil || hard.Err() != nil {
				break
			}
			fetches.Go(func() error { return c.bring(ctx, hard, n) })
		}
		return cmp.Or(fetches.Wait(), ctx.Err())
	})
	if err := group.Wait(); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	return incomplete(c.gaps)
}

// bring makes a blob be there: in the working directory or in an older archive.
func (c *carrier) bring(ctx, hard context.Context, n *need) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := c.find(ctx, hard, n); err != nil {
		return c.gapOr(n, err)
	}
	for _, a := range n.archives {
		if a.missing.Add(-1) == 0 {
			c.ready <- a
		}
	}
	return nil
}

// gapOr notes a gap for an error that says something of content and of nothing else,
// and returns any other.
func (c *carrier) gapOr(n *need, err error) error {
	g := Gap{Repository: n.repositories[0], Digest: n.Digest, lost: true}
	switch {
	case err == nil:
		return nil
	case absent(err):
		g.Reason = "not there"
	case isWrongContent(err), errors.Is(err, client.ErrMismatch):
		g.Reason = err.Error()
	default:
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gaps = append(c.gaps, g)
	return nil
}

// find makes a blob be there, from an older archive or from the registry.
func (c *carrier) find(ctx, hard context.Context, n *need) error {
	there, err := c.there(ctx, n)
	if err != nil || there {
		c.watch.Add(n.Size)
		return err
	}
	one, cancel := context.WithCancel(hard)
	defer cancel()
	left := &leftMeter{Meter: c.watch}
	left.n.Store(n.Size)
	defer context.AfterFunc(ctx, func() {
		if left.n.Load() > nearlyDone {
			cancel()
		}
	})()
	f := c.fetcher
	f.meter = left
	if err := f.fetch(one, n.Descriptor, n.repositories); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	c.work.reached("fetched")
	return c.work.touch()
}

// there says whether a blob need not be fetched: it lies in the working directory, or
// in an older archive. Its digest is proven in both cases.
func (c *carrier) there(ctx context.Context, n *need) (bool, error) {
	if c.work.has(n.Digest, n.Size) {
		good, err := c.work.check(ctx, n.Digest)
		if good || err != nil {
			return good, err
		}
		c.work.drop(n.Digest)
	}
	where, dir := c.older.find(n.layout, n.Digest, n.Size)
	switch {
	case where == nil:
		return false, nil
	case dir != c.Dir: // it is replaced when another archive is whole
		return c.fetcher.copy(ctx, where, n.Descriptor)
	}
	good, err := prove(ctx, where, n.Digest)
	if good {
		n.where = where
	}
	return good, err
}

// leftMeter knows how much is left of a blob.
type leftMeter struct {
	Meter
	n atomic.Int64
}

func (l *leftMeter) Add(n int64) {
	l.n.Add(-n)
	l.Meter.Add(n)
}

// pack writes an archive whose blobs are there, and drops those that no other needs.
func (c *carrier) pack(ctx context.Context, a *packed) error {
	where := make(map[digest.Digest]extent.List, len(a.needs))
	for _, n := range a.needs {
		where[n.Digest] = n.where
	}
	now := files(a.Name, a.Size, c.ChunkSize)
	o := &output{dir: c.work.packing(), rest: now, newSum: c.NewSum, live: ctx.Err}
	err := writeTar(o, a.entries, func(e entry) (io.ReadCloser, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if list := where[e.blob]; list != nil {
			return list.Open()
		}
		return c.work.open(e.blob)
	})
	if cerr := o.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	c.work.reached("packed")
	if err := c.stage(now); err != nil {
		return err
	}
	c.work.reached("staged")
	c.watch.Packed(a.Name, a.Size)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range a.needs {
		if c.uses[n.Digest]--; c.uses[n.Digest] == 0 {
			c.work.drop(n.Digest)
		}
	}
	return nil
}

// stage puts a whole archive where whole ones are kept until all are.
func (c *carrier) stage(now []file) error {
	var names []string
	for _, f := range now {
		names = append(names, f.Name)
		if c.NewSum != nil {
			names = append(names, sumName(f.Name))
		}
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(c.work.packing(), name), filepath.Join(c.work.archives(), name)); err != nil {
			return err
		}
	}
	return syncDir(c.work.archives())
}
