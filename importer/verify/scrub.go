package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/time/rate"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// ScrubOptions configure a [Scrub].
type ScrubOptions struct {
	Rate     int64 // maximum rate in bytes per second, more than 0
	Snapshot func() *layoutstore.Snapshot
	// From is the position at which an earlier scrub stopped during a pass. The zero Position means to start
	// at the beginning.
	From Position
	// Ended is when the last complete pass of an earlier scrub ended; zero if there was none.
	Ended time.Time
	// Reached is called regularly, and once when Run ends. It receives the position from which a
	// later scrub can resume, and the end of the last complete pass. It may be nil.
	Reached func(at Position, ended time.Time)
	// Now returns the current time; nil means time.Now.
	Now func() time.Time
	// Wrong is called for each damaged copy that was quarantined. Failed is called for each copy that cannot
	// be read. Both may be nil.
	Wrong  func(layoutstore.Problem)
	Failed func(file, entry string, d digest.Digest, err error)
}

// Scrub continuously reads the blobs of a served tree at a limited rate. It quarantines damaged blobs.
type Scrub struct {
	ScrubOptions
	limit *rate.Limiter
	at    Position // position of the last copy that was read

	reported time.Time // time of the last call of Reached

	mu    sync.Mutex
	stats ScrubStats
}

// Position identifies the copy of a blob that was read last in a pass.
type Position struct {
	Repository string `json:"repository"` // path of the repository

	Path string `json:"path"` // path of the layout, or of its archive

	Entry  string        `json:"entry"` // name of the layout in the archive
	Digest digest.Digest `json:"digest"`
}

// ScrubStats describe the progress of a scrub. Wrong counts copies that were quarantined, and Failed
// copies that could not be read. Passes counts complete passes.
type ScrubStats struct {
	Bytes, Files         int64 // number of bytes and of copies that were read in all passes
	Wrong, Failed        int64
	Passes               int64
	PassBytes, PassTotal int64 // bytes of the current pass: those already done, and the total

	Ended time.Time // end of the last complete pass; zero before the first
}

// scrubBuffer is the size of one read in bytes. It is also the burst of the rate limit.
const scrubBuffer = 64 << 10

// NewScrub returns a scrub, which [Scrub.Run] starts. It returns an error if the rate is not positive.
func NewScrub(o ScrubOptions) (*Scrub, error) {
	if o.Rate <= 0 {
		return nil, fmt.Errorf("invalid scrub rate: %d bytes per second: it has to be more than 0", o.Rate)
	}
	if o.Wrong == nil {
		o.Wrong = func(layoutstore.Problem) {}
	}
	if o.Failed == nil {
		o.Failed = func(string, string, digest.Digest, error) {}
	}
	if o.Reached == nil {
		o.Reached = func(Position, time.Time) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Scrub{ScrubOptions: o, at: o.From, reported: o.Now(), limit: rate.NewLimiter(rate.Limit(o.Rate), scrubBuffer), stats: ScrubStats{Ended: o.Ended}}, nil
}

// Stats returns the progress of the scrub. It may be called while Run runs.
func (s *Scrub) Stats() ScrubStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

func (s *Scrub) count(add func(*ScrubStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add(&s.stats)
}

// betweenPasses is the minimum pause between passes. It is needed because a tree may be empty.
const betweenPasses = time.Second

// Run runs passes until the context ends. It always returns nil.
func (s *Scrub) Run(ctx context.Context) error {
	buf := make([]byte, scrubBuffer)
	defer func() { s.Reached(s.at, s.Stats().Ended) }()
	for {
		if err := s.runPass(ctx, buf); err == nil {
			ended := s.Now()
			s.count(func(n *ScrubStats) { n.Ended, n.Passes = ended, n.Passes+1 })
			s.reportPosition(Position{})
		}
		select {
		case <-time.After(betweenPasses):
		case <-ctx.Done():
			return nil
		}
	}
}

// betweenPositions is the interval between calls of Reached. After a crash, a scrub repeats at most the work
// of this time.
const betweenPositions = 10 * time.Second

// reportPosition calls Reached, unless the last call was less than betweenPositions ago.
func (s *Scrub) reportPosition(at Position) {
	s.at = at
	if now := s.Now(); now.Sub(s.reported) >= betweenPositions {
		s.reported = now
		s.Reached(at, s.Stats().Ended)
	}
}

// runPass reads every copy of every blob once, beginning after the saved position. Its only error is the
// context's.
func (s *Scrub) runPass(ctx context.Context, buf []byte) error {
	var total, behind int64
	from := s.at
	err := s.eachCopy(ctx, from, func(_ holder, l layoutstore.Layout, d digest.Digest, _ Position, skip bool) {
		where, err := l.Locate(ctx, d)
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
	s.count(func(n *ScrubStats) { n.PassTotal, n.PassBytes = total, behind })
	return s.eachCopy(ctx, from, func(by holder, l layoutstore.Layout, d digest.Digest, at Position, skip bool) {
		if skip {
			return
		}
		err := s.readBlob(ctx, by, l, d, buf)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.count(func(n *ScrubStats) { n.Failed++ })
			file, entry := l.WhereBlob(d)
			s.Failed(file, entry, d, err)
		}
		s.reportPosition(at)
	})
}

// holder is the repository in which eachCopy found a copy of a blob.
type holder struct {
	*layoutstore.Repository
	snapshot *layoutstore.Snapshot
	path     string
}

// eachCopy calls do for each copy of each blob in the tree, with the copy's position. skip is true for
// all copies up to the position in from. Its only error is the context's.
func (s *Scrub) eachCopy(ctx context.Context, from Position, do func(_ holder, _ layoutstore.Layout, _ digest.Digest, at Position, skip bool)) error {
	seen := map[layoutstore.Layout]bool{}
	for _, path := range s.Snapshot().Paths() {
		by := holder{snapshot: s.Snapshot(), path: path}
		repo, err := by.snapshot.At(path)
		if err != nil {
			continue // the repository was removed meanwhile
		}
		by.Repository = repo
		layouts := repo.Layouts()
		ended := layoutOf(layouts, path, from)
		for i, l := range layouts {
			if seen[l] {
				continue // this layout also belongs to another repository
			}
			seen[l] = true
			blobs, _ := l.Blobs(ctx) // ignore the error, because an audit reports layouts that cannot be listed
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

// layoutOf returns the index in layouts at which an earlier scrub stopped, at the position from. The
// scrub had read all layouts before this index, or all of them if the index is len(layouts). If it had
// read none, or if the layout at from no longer exists, layoutOf returns -1.
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

// readBlob reads one copy, and quarantines it if it is damaged and did not change meanwhile. It returns an
// error if the copy cannot be read.
func (s *Scrub) readBlob(ctx context.Context, by holder, l layoutstore.Layout, d digest.Digest, buf []byte) error {
	stamp, err := l.Stamp(ctx, d)
	if err != nil {
		return ignoreGone(err)
	}
	where, err := l.Locate(ctx, d)
	if err != nil {
		return ignoreGone(err)
	}
	err = compare(ctx, layoutstore.Stored{Layout: l, Digest: d, Where: where}, buf, func(n int) { s.throttle(ctx, n) })
	s.count(func(n *ScrubStats) { n.Files++ })
	var wrong *wrongBytes
	if err != nil && !errors.As(err, &wrong) {
		return ignoreGone(err)
	}
	if after, err := l.Stamp(ctx, d); err != nil || after != stamp {
		return ignoreGone(err) // the copy has changed meanwhile, so the next pass reads it
	}
	if wrong == nil {
		by.Release(l, d, stamp)
		return nil
	}
	news, err := by.Quarantine(ctx, l, d, stamp, wrong.Error())
	if err != nil || !news {
		return err
	}
	s.count(func(n *ScrubStats) { n.Wrong++ })
	p, ok, err := by.snapshot.QuarantineProblem(ctx, by.path, l, d)
	if ok { // ok is false if the file has just changed
		s.Wrong(p)
	}
	return err
}

// throttle counts n bytes that were read, and waits as long as the rate requires.
func (s *Scrub) throttle(ctx context.Context, n int) {
	s.count(func(stats *ScrubStats) { stats.Bytes, stats.PassBytes = stats.Bytes+int64(n), stats.PassBytes+int64(n) })
	_ = s.limit.WaitN(ctx, n) // fails only if the context ends, which ends the scrub anyway
}

// ignoreGone returns nil if err means that a file was removed or replaced, and otherwise err.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layoutstore.ErrStale) {
		return nil
	}
	return err
}
