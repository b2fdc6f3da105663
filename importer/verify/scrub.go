package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/time/rate"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// ScrubOptions say how a Scrub reads.
type ScrubOptions struct {
	Rate     int64 // bytes a second, more than 0
	Snapshot func() *layoutstore.Snapshot
	// Wrong is told of each copy that is refused from now on, Failed of each that
	// cannot be read, which says nothing of its bytes. Both may be nil.
	Wrong  func(layoutstore.Problem)
	Failed func(file, entry string, d digest.Digest, err error)
}

// Scrub reads the blobs of a tree behind a server, at a rate and without an end, and
// has those refused that are not what their names say.
type Scrub struct {
	ScrubOptions
	limit *rate.Limiter
	stats scrubStats
}

// scrubStats are the numbers of ScrubStats while they change.
type scrubStats struct {
	bytes, files, wrong, failed, passes, passBytes, passTotal atomic.Int64
}

// ScrubStats say how far a scrub is.
type ScrubStats struct {
	Bytes, Files         int64 // read so far, in all passes
	Wrong, Failed        int64 // copies refused; copies that could not be read
	Passes               int64 // over
	PassBytes, PassTotal int64 // of the pass under way
}

// scrubBuffer is how much is read at once, and let through at once.
const scrubBuffer = 64 << 10

// NewScrub makes a scrub that has yet to run.
func NewScrub(o ScrubOptions) (*Scrub, error) {
	if o.Rate <= 0 {
		return nil, fmt.Errorf("%d bytes a second: it has to be more than nothing", o.Rate)
	}
	if o.Wrong == nil {
		o.Wrong = func(layoutstore.Problem) {}
	}
	if o.Failed == nil {
		o.Failed = func(string, string, digest.Digest, error) {}
	}
	return &Scrub{ScrubOptions: o, limit: rate.NewLimiter(rate.Limit(o.Rate), scrubBuffer)}, nil
}

// Stats is how far the scrub is. It may be called while it runs.
func (s *Scrub) Stats() ScrubStats {
	n := &s.stats
	return ScrubStats{Bytes: n.bytes.Load(), Files: n.files.Load(), Wrong: n.wrong.Load(), Failed: n.failed.Load(),
		Passes: n.passes.Load(), PassBytes: n.passBytes.Load(), PassTotal: n.passTotal.Load()}
}

// betweenPasses is how long a scrub rests at least: a tree may be empty.
const betweenPasses = time.Second

// Run reads pass after pass until the context ends, and returns nil then.
func (s *Scrub) Run(ctx context.Context) error {
	buf := make([]byte, scrubBuffer)
	for {
		if err := s.pass(ctx, buf); err == nil {
			s.stats.passes.Add(1)
		}
		select {
		case <-time.After(betweenPasses):
		case <-ctx.Done():
			return nil
		}
	}
}

// pass reads every copy of every blob once. The error is the context's.
func (s *Scrub) pass(ctx context.Context, buf []byte) error {
	var total int64
	err := s.each(ctx, func(_ holder, l layoutstore.Layout, d digest.Digest) {
		if where, err := l.Locate(d); err == nil {
			total += where.Size()
		}
	})
	if err != nil {
		return err
	}
	s.stats.passTotal.Store(total)
	s.stats.passBytes.Store(0)
	return s.each(ctx, func(by holder, l layoutstore.Layout, d digest.Digest) {
		if err := s.blob(ctx, by, l, d, buf); err != nil && ctx.Err() == nil {
			s.stats.failed.Add(1)
			file, entry := l.WhereBlob(d)
			s.Failed(file, entry, d, err)
		}
	})
}

// holder is the repository that a copy of a blob is read for.
type holder struct {
	*layoutstore.Repository
	snapshot *layoutstore.Snapshot
	path     string
}

// each calls do for each copy of each blob that the tree has when it comes to its
// repository. The error is the context's.
func (s *Scrub) each(ctx context.Context, do func(holder, layoutstore.Layout, digest.Digest)) error {
	seen := map[layoutstore.Layout]bool{}
	for _, path := range s.Snapshot().Paths() {
		by := holder{snapshot: s.Snapshot(), path: path}
		repo, err := by.snapshot.At(path)
		if err != nil {
			continue // it went meanwhile
		}
		by.Repository = repo
		for _, l := range repo.Layouts() {
			if seen[l] {
				continue // another repository's as well
			}
			seen[l] = true
			blobs, _ := l.Blobs(ctx) // the check tells of what cannot be listed
			for _, d := range blobs {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				do(by, l, d)
			}
		}
	}
	return ctx.Err()
}

// blob reads one copy and has it refused if it is wrong and did not change meanwhile.
// The error is that of reading it.
func (s *Scrub) blob(ctx context.Context, by holder, l layoutstore.Layout, d digest.Digest, buf []byte) error {
	stamp, err := l.Stamp(d)
	if err != nil {
		return gone(err)
	}
	where, err := l.Locate(d)
	if err != nil {
		return gone(err)
	}
	err = compare(ctx, layoutstore.Stored{Layout: l, Digest: d, Where: where}, buf, func(n int) { s.let(ctx, n) })
	s.stats.files.Add(1)
	var wrong *wrongBytes
	if err != nil && !errors.As(err, &wrong) {
		return gone(err)
	}
	if after, err := l.Stamp(d); err != nil || after != stamp {
		return gone(err) // it was written meanwhile: the next pass will tell
	}
	if wrong == nil {
		by.Clear(l, d, stamp)
		return nil
	}
	if by.Condemn(l, d, stamp, wrong.Error()) {
		s.stats.wrong.Add(1)
		if p, ok := by.snapshot.Condemned(by.path, l, d); ok { // else the file has just changed
			s.Wrong(p)
		}
	}
	return nil
}

// let counts n bytes that were read, and waits until more may be.
func (s *Scrub) let(ctx context.Context, n int) {
	s.stats.bytes.Add(int64(n))
	s.stats.passBytes.Add(int64(n))
	_ = s.limit.WaitN(ctx, n) // fails with the context, which ends the reading
}

// gone passes over what says that a file is there no longer, or is another by now.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layoutstore.ErrStale) {
		return nil
	}
	return err
}
