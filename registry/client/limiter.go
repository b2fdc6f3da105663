package client

import (
	"context"
	"sync"
	"time"
)

// limiter bounds how many requests to a host run at once. The bound adapts: it is
// halved when the host says that it has too many, and grows again by one for each
// run of answers that go well.
type limiter struct {
	mu      sync.Mutex
	most    int // the bound that was asked for
	limit   int // the bound at present
	running int
	good    int           // answers in a row that went well
	lowered time.Time     // the last time
	until   time.Time     // nothing begins before
	changed chan struct{} // closed when one of these has changed
}

// goodRun is how many answers, for each request of the bound, raise it by one.
const goodRun = 8

func newLimiter(most int) *limiter {
	return &limiter{most: most, limit: most, changed: make(chan struct{})}
}

// acquire waits for a turn. The error is the context's.
func (l *limiter) acquire(ctx context.Context) error {
	for {
		l.mu.Lock()
		wait := time.Until(l.until)
		if wait <= 0 && l.running < l.limit {
			l.running++
			l.mu.Unlock()
			return nil
		}
		changed := l.changed
		l.mu.Unlock()
		if err := waitFor(ctx, changed, wait); err != nil {
			return err
		}
	}
}

// waitFor waits until changed is closed, or until wait is over if there is one.
func waitFor(ctx context.Context, changed <-chan struct{}, wait time.Duration) error {
	var over <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-over:
	}
	return nil
}

func (l *limiter) release() {
	l.mu.Lock()
	l.running--
	l.wake()
	l.mu.Unlock()
}

// wake tells those who wait to look again. The lock is held.
func (l *limiter) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// succeeded says that a request went well.
func (l *limiter) succeeded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.good++; l.limit < l.most && l.good >= goodRun*l.limit {
		l.limit, l.good = l.limit+1, 0
		l.wake()
	}
}

// overloaded says that the host has too much to do: of a request that began at
// began, and with the pause that the host asks for, or 0. Requests that began
// before the bound was lowered say nothing about the lower bound.
func (l *limiter) overloaded(began time.Time, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.good = 0
	now := time.Now()
	if until := now.Add(pause); until.After(l.until) {
		l.until = until
	}
	if began.After(l.lowered) && l.limit > 1 {
		l.limit = max(1, l.limit/2)
		l.lowered = now
	}
}

// bound is the bound at present.
func (l *limiter) bound() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit
}
