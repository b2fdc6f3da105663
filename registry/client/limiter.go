package client

import (
	"context"
	"sync"
	"time"
)

// limiter bounds how many requests to a host run at once. The bound adapts: it is halved
// when the host says that it is overloaded, and grows by one after each run of successful answers.
type limiter struct {
	mu      sync.Mutex
	most    int // the configured bound
	limit   int // the current bound
	running int
	good    int           // successful answers in a row
	lowered time.Time     // when the bound was last lowered
	until   time.Time     // no request starts before this time
	changed chan struct{} // closed when one of these changes
}

// goodRun times the bound is the number of successful answers that raise the bound by one.
const goodRun = 8

func newLimiter(most int) *limiter {
	return &limiter{most: most, limit: most, changed: make(chan struct{})}
}

// acquire waits for a slot. The error is the context's.
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

// waitFor waits until changed is closed, or until wait has passed if it is positive.
func waitFor(ctx context.Context, changed <-chan struct{}, wait time.Duration) error {
	var over <-chan time.Time
	if wait > 0 {
		over = time.After(wait)
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

// wake makes waiting requests check again. The caller holds the lock.
func (l *limiter) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *limiter) succeeded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.good++; l.limit < l.most && l.good >= goodRun*l.limit {
		l.limit, l.good = l.limit+1, 0
		l.wake()
	}
}

// overloaded records that the host rejected a request that started at began, and asked for a pause
// (0: none). A request that started before the bound was last lowered does not lower it again.
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

func (l *limiter) bound() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit
}
