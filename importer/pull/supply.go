package pull

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

const (
	// When a pull of archives is interrupted, it still completes blobs of which at most nearlyDone
	// bytes are missing. It waits for them no longer than grace.
	nearlyDone = 16 << 20
	grace      = 5 * time.Second
)

type need struct {
	blob closure.Descriptor
	// layout is the path of a layout that contains the blob.
	layout string
	// repositories are the repositories of the source that may have the blob.
	repositories []string
	archives     []*packed

	// available is closed when the blob is available.
	available chan struct{}
	// where is the place of the blob in an archive or tree of the bundle's directory. It is nil if
	// the blob is in the working directory.
	where extent.List
}

// needsOf returns the blobs of archives in the order of the archives. Each blob is listed once.
func needsOf(todo []*bundle.Archive) (archives []*packed, needs []*need) {
	byDigest := map[digest.Digest]*need{}
	for _, a := range todo {
		p := &packed{archive: a}
		archives = append(archives, p)
		for _, l := range a.Layouts {
			for _, b := range l.Blobs {
				n := byDigest[b.Digest]
				if n == nil {
					n = &need{blob: b, layout: l.Path, available: make(chan struct{})}
					byDigest[b.Digest] = n
					needs = append(needs, n)
				}
				n.repositories = appendNew(n.repositories, l.Repository)
				if len(n.archives) == 0 || n.archives[len(n.archives)-1] != p {
					n.archives = append(n.archives, p)
					p.needs = append(p.needs, n)
				}
			}
		}
	}
	return archives, needs
}

// supply makes blobs available from the working directory, existing bundles or the registry.
type supply struct {
	// dir is the directory of the bundle.
	dir string
	// source is the path of the source, above its repositories.
	source   string
	plan     *Plan
	watch    Watch
	fetcher  fetcher
	reusable *bundle.Reusable

	mu       sync.Mutex
	problems []Problem // problems of blobs that are missing or damaged in the source
}

func (r *run) newSupply() *supply {
	return &supply{dir: r.options.Dir, source: r.options.Source.Path, plan: r.plan, watch: r.watch, fetcher: fetcher{r.options.Registry, r.work, r.watch}, reusable: r.reusable}
}

// provide makes a blob available, and reports whether it succeeded. If the source does not have the
// blob, or has it damaged, provide records a problem and returns no error. If ctx ends, a fetch
// that is nearly complete continues. If hard ends, every fetch stops.
func (s *supply) provide(ctx, hard context.Context, n *need) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	err := s.obtain(ctx, hard, n)
	var g Problem
	switch {
	case err == nil:
		return true, nil
	case IsAbsent(err):
		g = newMissing(n.repositories[0], n.blob.Digest.String(), problem.Missing)
	case isDamaged(err):
		g = NewProblem(layoutstore.Damaged, n.repositories[0], n.blob.Digest.String(), err.Error())
	default:
		return false, err
	}
	g.lost, g.spare = true, s.plan.isSpare(n.blob.Digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, g)
	return false, nil
}

// obtain makes a blob available. Its errors are those of fetcher.fetch.
func (s *supply) obtain(ctx, hard context.Context, n *need) error {
	there, err := s.reuse(ctx, n)
	if err != nil || there {
		s.fetcher.meter.Add(n.blob.Size)
		return err
	}
	one, cancel := context.WithCancel(hard)
	defer cancel()
	transfer := s.watch.Fetch(strings.TrimPrefix(n.repositories[0], s.source+"/"), n.blob.Size)
	defer transfer.End()
	left := &leftMeter{meter: transfer}
	left.n.Store(n.blob.Size)
	defer context.AfterFunc(ctx, func() {
		if left.n.Load() > nearlyDone {
			cancel()
		}
	})()
	f := s.fetcher
	f.meter = left
	if err := f.fetch(one, n.blob, n.repositories); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	f.work.reached("fetched")
	return f.work.touch()
}

// reuse reports whether an intact blob exists in the working directory, or in an existing archive
// or tree, so that it need not be fetched. It verifies the blob.
func (s *supply) reuse(ctx context.Context, n *need) (bool, error) {
	if good, err := s.fetcher.work.keepIntact(ctx, n.blob); good || err != nil {
		return good, err
	}
	where, dir, err := s.reusable.Find(ctx, n.layout, n.blob.Digest, n.blob.Size)
	switch {
	case err != nil:
		return false, err
	case where == nil:
		return false, nil
	case dir != s.dir: // the staged archive may be replaced before this blob is written
		return s.fetcher.copyBlob(ctx, where, n.blob)
	}
	good, err := bundle.HasDigest(ctx, where, n.blob.Digest)
	if good {
		n.where = where
	}
	return good, err
}

// leftMeter counts how many bytes of a blob still have to be fetched.
type leftMeter struct {
	meter Meter
	n     atomic.Int64
}

// Add implements Meter.
func (l *leftMeter) Add(n int64) {
	l.n.Add(-n)
	l.meter.Add(n)
}
