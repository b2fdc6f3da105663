package pull

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// packed is an archive that must be written.
type packed struct {
	archive *bundle.Archive
	needs   []*need
	missing atomic.Int64 // blobs that are not available yet
}

// packer fetches what archives need, and writes each as soon as its blobs are available.
type packer struct {
	run    *run
	supply *supply
	ready  chan *packed
	uses   map[digest.Digest]int // archives still to be written; used by the one goroutine that packs
}

// fetchAndPack writes archives, and fetches what they need.
func (r *run) fetchAndPack(ctx context.Context, todo []*bundle.Archive) error {
	archives, needs := needsOf(todo)
	p := &packer{run: r, supply: r.newSupply(), ready: make(chan *packed, len(archives)), uses: map[digest.Digest]int{}}
	var total int64
	for _, n := range needs {
		total += n.blob.Size
		p.uses[n.blob.Digest] = len(n.archives)
	}
	r.watch.Phase("fetching", total)
	for _, a := range archives {
		if a.missing.Load() == 0 { // of empty layouts
			p.ready <- a
		}
	}
	// Blobs that are nearly done continue for a while after the context has ended.
	hard, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, stop) })()
	group, hard := errgroup.WithContext(hard)
	group.Go(func() error { return p.packAll(ctx) })
	group.Go(func() error { return p.fetchAll(ctx, hard, needs) })
	if err := group.Wait(); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	return Incomplete(p.supply.problems)
}

// fetchAll makes blobs available, several at a time.
func (p *packer) fetchAll(ctx, hard context.Context, needs []*need) error {
	defer close(p.ready)
	fetches, hard := errgroup.WithContext(hard)
	fetches.SetLimit(p.run.options.Jobs)
	for _, n := range needs {
		if ctx.Err() != nil || hard.Err() != nil {
			break
		}
		fetches.Go(func() error {
			ok, err := p.supply.provide(ctx, hard, n)
			if err != nil || !ok {
				return err
			}
			for _, a := range n.archives {
				if a.missing.Add(-1) == 0 {
					p.ready <- a
				}
			}
			return nil
		})
	}
	return cmp.Or(fetches.Wait(), ctx.Err())
}

// packAll writes the archives that are ready, one after another.
func (p *packer) packAll(ctx context.Context) error {
	for a := range p.ready {
		if err := p.pack(ctx, a); err != nil {
			return fmt.Errorf("%s: %w", a.archive.Name, err)
		}
	}
	return nil
}

// pack writes an archive whose blobs are available, stages it, and removes blobs that no
// other archive needs.
func (p *packer) pack(ctx context.Context, a *packed) error {
	where := make(map[digest.Digest]extent.List, len(a.needs))
	for _, n := range a.needs {
		where[n.blob.Digest] = n.where
	}
	work := p.run.work
	files, err := a.archive.Write(ctx, work.publisher.Unstaged(), p.run.form, func(d digest.Digest) (io.ReadCloser, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if list := where[d]; list != nil {
			return list.Open(ctx)
		}
		return work.open(d)
	})
	if err != nil {
		return err
	}
	p.run.files[a.archive.Name] = files
	work.reached("packed")
	if err := work.publisher.StageWritten(p.run.form.Names(a.archive)); err != nil {
		return err
	}
	work.reached("staged")
	p.run.watch.Packed(a.archive.Name, a.archive.Size)
	for _, n := range a.needs {
		if p.uses[n.blob.Digest]--; p.uses[n.blob.Digest] == 0 {
			work.remove(n.blob.Digest)
		}
	}
	return nil
}
