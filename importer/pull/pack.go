package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
)

type packed struct {
	archive *bundle.Archive
	needs   []*need
}

// packer fetches the blobs of archives. At the same time, it writes the archives one after another.
// It fetches blobs in the order in which it writes them.
type packer struct {
	run    *run
	supply *supply
	// fetched is closed when all fetches have ended.
	fetched chan struct{}
	// uses counts, for each blob, the archives that still need it. Only one goroutine uses it.
	uses map[digest.Digest]int
}

// errNotFetched reports that a blob is not available. supply.problems or the error of fetchAll says why.
var errNotFetched = errors.New("a blob of the archive was not fetched")

func (r *run) fetchAndPack(ctx context.Context, todo []*bundle.Archive) error {
	archives, needs := needsOf(todo)
	p := &packer{run: r, supply: r.newSupply(), fetched: make(chan struct{}), uses: map[digest.Digest]int{}}
	var total int64
	for _, n := range needs {
		total += n.blob.Size
		p.uses[n.blob.Digest] = len(n.archives)
	}
	r.watch.Phase("fetching", total)
	// After the context has ended, blobs that are nearly complete are still fetched.
	hard, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, stop) })()
	group, hard := errgroup.WithContext(hard)
	group.Go(func() error { return p.packAll(ctx, archives) })
	group.Go(func() error { return p.fetchAll(ctx, hard, needs) })
	if err := group.Wait(); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	return Incomplete(p.supply.problems)
}

// fetchAll makes blobs available. It works on several blobs at the same time.
func (p *packer) fetchAll(ctx, hard context.Context, needs []*need) error {
	defer close(p.fetched)
	fetches, hard := errgroup.WithContext(hard)
	fetches.SetLimit(p.run.options.Jobs)
	for _, n := range needs {
		if ctx.Err() != nil || hard.Err() != nil {
			break
		}
		fetches.Go(func() error {
			ok, err := p.supply.provide(ctx, hard, n)
			if ok {
				close(n.available)
			}
			return err
		})
	}
	return cmp.Or(fetches.Wait(), ctx.Err())
}

// packAll writes the archives one after another, except archives with a blob that was not fetched.
func (p *packer) packAll(ctx context.Context, archives []*packed) error {
	for _, a := range archives {
		if err := p.pack(ctx, a); err != nil && !errors.Is(err, errNotFetched) {
			return fmt.Errorf("%s: %w", a.archive.Name, err)
		}
	}
	return nil
}

// wait waits until a blob is available. It fails with errNotFetched or the context's error.
func (p *packer) wait(ctx context.Context, n *need) error {
	select {
	case <-n.available:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	case <-p.fetched:
	}
	select {
	case <-n.available:
		return ctx.Err()
	default:
		return errNotFetched
	}
}

// pack writes an archive, stages it, and removes blobs that no other archive needs. Its errors come
// from wait and the file system.
func (p *packer) pack(ctx context.Context, a *packed) error {
	needs := make(map[digest.Digest]*need, len(a.needs))
	for _, n := range a.needs {
		needs[n.blob.Digest] = n
	}
	work := p.run.work
	files, err := a.archive.Write(ctx, work.publisher.Unstaged(), p.run.form, func(d digest.Digest) (io.ReadCloser, error) {
		n := needs[d]
		if err := p.wait(ctx, n); err != nil {
			return nil, err
		}
		if n.where != nil {
			return n.where.Open(ctx)
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
