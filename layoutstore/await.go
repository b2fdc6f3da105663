package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
)

// ErrSlow is the error if the storage did not answer in time. The content may be intact.
var ErrSlow = errors.New("the storage does not answer in time")

// maxReads is the maximum number of concurrent reads of a tree. While the storage hangs, each read
// blocks a thread of the operating system.
const maxReads = 1024

// storage limits how long callers wait for a read, and how many reads run at the same time. A read
// that hangs cannot be interrupted, so callers abandon it.
type storage struct {
	patience time.Duration // how long a caller waits; 0 means until its context ends
	reads    atomic.Int64  // number of reads in progress

	left atomic.Int64 // number of entries in hung
	mu   sync.Mutex   // protects hung
	hung map[digest.Digest]*hung
}

// hung counts the abandoned reads of one digest that are still in progress.
type hung struct {
	reads int
	over  chan struct{} // closed when reads becomes 0
}

// await calls do, which reads something for d, in a goroutine. It waits for the result until ctx
// ends, or for at most s.patience. If do succeeds later, await passes its result to late, which
// may be nil. While an abandoned read of d is in progress, no new read of d begins. The error is that
// of do, ErrSlow or the cause of ctx.
func await[T any](ctx context.Context, s *storage, d digest.Digest, do func(context.Context) (T, error), late func(T)) (T, error) {
	if s.patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.patience, fmt.Errorf("%s: %w", d, ErrSlow))
		defer cancel()
	}
	var none T
	if err := s.begin(ctx, d); err != nil {
		return none, err
	}
	// Both the end of the read and a caller that gives up set over. Whichever comes second calls
	// s.end.
	var over atomic.Bool
	value, err := wait.For(ctx, func() (T, error) {
		v, err := do(ctx)
		s.reads.Add(-1)
		if over.Swap(true) {
			s.end(d)
		}
		return v, err
	}, late)
	if err != nil && ctx.Err() != nil {
		s.giveUp(d)
		if over.Swap(true) {
			s.end(d)
		}
	}
	return value, err
}

// begin waits until no abandoned read of d is in progress, and then counts a new read. The error is
// ErrSlow if there are too many reads, or the cause of ctx.
func (s *storage) begin(ctx context.Context, d digest.Digest) error {
	for s.left.Load() > 0 {
		s.mu.Lock()
		h := s.hung[d]
		s.mu.Unlock()
		if h == nil {
			break
		}
		select {
		case <-h.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if s.reads.Add(1) > maxReads {
		s.reads.Add(-1)
		return fmt.Errorf("%s: %d other reads are in progress: %w", d, maxReads, ErrSlow)
	}
	return nil
}

// giveUp records that a caller abandoned a read of d.
func (s *storage) giveUp(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hung[d]
	if h == nil {
		if s.hung == nil {
			s.hung = map[digest.Digest]*hung{}
		}
		h = &hung{over: make(chan struct{})}
		s.hung[d] = h
		s.left.Add(1)
	}
	h.reads++
}

// end records that an abandoned read has ended.
func (s *storage) end(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hung[d]
	if h.reads--; h.reads == 0 {
		delete(s.hung, d)
		s.left.Add(-1)
		close(h.over)
	}
}
