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

// packed is an archive that must be written.
type packed struct {
	archive *bundle.Archive
	needs   []*need
}

// packer fetches the blobs of archives, and meanwhile writes the archives one after another.
// Blobs are fetched in the order in which they are written.
type packer struct {
	run     *run
	supply  *supply
	fetched chan struct{}         // closed when no more blobs become available
	uses    map[digest.Digest]int // archives to write that need a blob; for the packing goroutine only
}

// errNotFetched reports that a blob is not available, for a reason that is reported elsewhere.
var errNotFetched = errors.New("a blob of the archive was not fetched")

// fetchAndPack fetches the blobs of archives, and writes the archives.
func (r *run) fetchAndPack(ctx context.Context, todo []*bundle.Archive) error {
	archives, needs := needsOf(todo)
	p := &packer{run: r, supply: r.newSupply(), fetched: make(chan struct{}), uses: map[digest.Digest]int{}}
	var total int64
	for _, n := range needs {
		total += n.blob.Size
		p.uses[n.blob.Digest] = len(n.archives)
	}
	r.watch.Phase("fetching", total)
	// Blobs that are nearly done are still fetched after the context has ended.
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

// fetchAll makes blobs available, several at a time.
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

// packAll writes the archives, one after another. It leaves out an archive if a blob of it was
// not fetched.
func (p *packer) packAll(ctx context.Context, archives []*packed) error {
	for _, a := range archives {
		if err := p.pack(ctx, a); err != nil && !errors.Is(err, errNotFetched) {
			return fmt.Errorf("%s: %w", a.archive.Name, err)
		}
	}
	return nil
}

// wait waits until a blob is available. Errors: errNotFetched; the context's.
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

// pack writes an archive, stages it, and removes blobs that no other archive needs. Errors: those of
// wait; the file system's.
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
