package client

import (
	"context"
	"sync"
	"time"
)

// limiter bounds how many requests to a host run at once. When the host reports that it is
// overloaded, the bound is halved. After a run of successful answers, it grows by one.
type limiter struct {
	mu sync.Mutex
	// most is the configured bound.
	most    int
	limit   int
	running int
	// good is the number of successful answers in a row.
	good int
	// lowered is when the bound was last lowered.
	lowered time.Time
	// until is the time before which no request starts.
	until time.Time
	// changed is closed when a slot may be free, so that waiting requests check again.
	changed chan struct{}
}

// goodRun times the current bound is the length of a run of successful answers after which the
// bound grows by one.
const goodRun = 8

func newLimiter(most int) *limiter {
	return &limiter{most: most, limit: most, changed: make(chan struct{})}
}

// acquire waits for a slot, and returns the context's error if that ends first.
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

// waitFor waits until changed is closed. If wait is positive, it waits at most that long.
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

// wake makes waiting requests check again. The caller must hold the lock.
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

// overloaded records that the host rejected a request that started at began. pause is how long the
// host asked clients to wait; 0 means that it did not ask. If the request started before the bound
// was last lowered, overloaded does not lower the bound again.
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
