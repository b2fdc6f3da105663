package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
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
	// From is where an earlier scrub of the tree ended, in the middle of a pass; the zero
	// Position is the beginning.
	From Position
	// Reached is called now and then with where a later scrub may continue, and once when
	// Run ends. It may be nil.
	Reached func(Position)
	// Now is the clock; nil is the system's.
	Now func() time.Time
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
	at    Position  // the last copy that was read
	told  time.Time // when Reached was called
}

// Position is a copy of a blob: all before it in a pass were read, and so was it.
type Position struct {
	Repository string        `json:"repository"` // its path
	Path       string        `json:"path"`       // of its layout
	Entry      string        `json:"entry"`      // that the layout is in an archive
	Digest     digest.Digest `json:"digest"`
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
	if o.Reached == nil {
		o.Reached = func(Position) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Scrub{ScrubOptions: o, at: o.From, told: o.Now(), limit: rate.NewLimiter(rate.Limit(o.Rate), scrubBuffer)}, nil
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
	defer func() { s.Reached(s.at) }()
	for {
		if err := s.pass(ctx, buf); err == nil {
			s.stats.passes.Add(1)
			s.reached(Position{})
		}
		select {
		case <-time.After(betweenPasses):
		case <-ctx.Done():
			return nil
		}
	}
}

// betweenPositions is how long a scrub reads before it says again where it is. That much
// is read twice where a process is killed.
const betweenPositions = 10 * time.Second

// reached says where the scrub is, if it was not said a moment ago.
func (s *Scrub) reached(at Position) {
	s.at = at
	if now := s.Now(); now.Sub(s.told) >= betweenPositions {
		s.told = now
		s.Reached(at)
	}
}

// pass reads every copy of every blob once, or those behind the position. The error is
// the context's.
func (s *Scrub) pass(ctx context.Context, buf []byte) error {
	var total, behind int64
	from := s.at
	err := s.each(ctx, from, func(_ holder, l layoutstore.Layout, d digest.Digest, _ Position, skip bool) {
		where, err := l.Locate(d)
		if err != nil {
			return
		}
		if total += where.Size(); skip {
			behind += where.Size()
		}
	})
	if err != nil {
		return err
	}
	s.stats.passTotal.Store(total)
	s.stats.passBytes.Store(behind)
	return s.each(ctx, from, func(by holder, l layoutstore.Layout, d digest.Digest, at Position, skip bool) {
		if skip {
			return
		}
		err := s.blob(ctx, by, l, d, buf)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.stats.failed.Add(1)
			file, entry := l.WhereBlob(d)
			s.Failed(file, entry, d, err)
		}
		s.reached(at)
	})
}

// holder is the repository that a copy of a blob is read for.
type holder struct {
	*layoutstore.Repository
	snapshot *layoutstore.Snapshot
	path     string
}

// each calls do for each copy of each blob that the tree has when it comes to its
// repository, with its position, and says whether it is one of those up to from. The
// error is the context's.
func (s *Scrub) each(ctx context.Context, from Position, do func(_ holder, _ layoutstore.Layout, _ digest.Digest, at Position, skip bool)) error {
	seen := map[layoutstore.Layout]bool{}
	for _, path := range s.Snapshot().Paths() {
		by := holder{snapshot: s.Snapshot(), path: path}
		repo, err := by.snapshot.At(path)
		if err != nil {
			continue // it went meanwhile
		}
		by.Repository = repo
		layouts := repo.Layouts()
		ended := layoutOf(layouts, path, from)
		for i, l := range layouts {
			if seen[l] {
				continue // another repository's as well
			}
			seen[l] = true
			blobs, _ := l.Blobs(ctx) // the check tells of what cannot be listed
			at := Position{Repository: path}
			at.Path, at.Entry = l.Where()
			for _, at.Digest = range blobs {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				do(by, l, at.Digest, at, i < ended || i == ended && at.Digest <= from.Digest)
			}
		}
	}
	return ctx.Err()
}

// layoutOf is which of the layouts at a path a scrub ended in: those before it were read.
// It is -1 where none was, as for a layout that is not there any more.
func layoutOf(layouts []layoutstore.Layout, path string, from Position) int {
	if path < from.Repository {
		return len(layouts)
	}
	return slices.IndexFunc(layouts, func(l layoutstore.Layout) bool {
		at := Position{Repository: path, Digest: from.Digest}
		at.Path, at.Entry = l.Where()
		return at == from
	})
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
		by.Release(l, d, stamp)
		return nil
	}
	if by.Quarantine(l, d, stamp, wrong.Error()) {
		s.stats.wrong.Add(1)
		if p, ok := by.snapshot.QuarantineProblem(by.path, l, d); ok { // else the file has just changed
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
