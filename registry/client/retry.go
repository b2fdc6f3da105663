package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	// maxAway is how long a call keeps trying to connect, counted from the first failure in a row. maxAwayPause
	// limits the pauses between these tries. reportAway is the shortest time between two reports of failures.
	maxAway      = 2 * time.Minute
	maxAwayPause = 5 * time.Second
	reportAway   = 10 * time.Second
	// maxPause limits a pause, unless the server asks for a longer one.
	maxPause = 30 * time.Second
	// maxRetryAfter is the longest pause that the client accepts from a server. A longer one
	// indicates an exhausted quota, so the call fails.
	maxRetryAfter = 5 * time.Minute
)

// backoff returns the pause after n+1 failures. The pause doubles with each failure. Half of it is
// random, so that clients that failed together do not retry together.
func (c *Client) backoff(n int) time.Duration {
	pause := min(c.options.FirstPause<<min(n, 20), maxPause)
	return pause/2 + rand.N(pause/2+1)
}

// Clock tells the time and waits.
type Clock interface {
	Now() time.Time
	// Sleep waits for d, or returns the context's error.
	Sleep(ctx context.Context, d time.Duration) error
}

type clock struct{}

func (clock) Now() time.Time { return time.Now() }

func (clock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// failures counts the failures of a call since its last progress.
type failures struct {
	// count is the number of failed answers and cut connections.
	count int
	// away is when the client first failed to connect. It is zero while connecting works.
	away time.Time
}

// pause counts the failure err and waits before a retry. It returns err if a retry is useless or
// not allowed. Options.Retries limits the number of failures other than failures to connect.
// maxAway limits how long the client tries to connect.
func (c *Client) pause(ctx context.Context, f *failures, err error, once bool) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *Error
	if once || !errors.As(err, &e) || !e.temporary() || c.options.Retries < 0 {
		return err
	}
	if e.away {
		return c.awaitConnection(ctx, f, err)
	}
	f.away = time.Time{}
	if f.count >= c.options.Retries || e.retryAfter > maxRetryAfter {
		return err
	}
	pause := max(c.backoff(f.count), e.retryAfter)
	f.count++
	return c.reportAndWait(ctx, err, pause)
}

func (c *Client) reportAndWait(ctx context.Context, err error, pause time.Duration) error {
	c.stats.retries.Add(1)
	c.options.Retrying(err, pause)
	return c.options.Clock.Sleep(ctx, pause)
}

// awaitConnection waits before it tries to connect again. It reports the failure at most once per
// reportAway.
func (c *Client) awaitConnection(ctx context.Context, f *failures, err error) error {
	now := c.options.Clock.Now()
	if f.away.IsZero() {
		f.away = now
	}
	if now.Sub(f.away) >= maxAway {
		return err
	}
	pause := min(c.backoff(int(now.Sub(f.away)/time.Second)), maxAwayPause)
	c.stats.retries.Add(1)
	if last := c.awayReported.Load(); now.UnixNano()-last >= int64(reportAway) && c.awayReported.CompareAndSwap(last, now.UnixNano()) {
		c.options.Retrying(err, pause)
	}
	return c.options.Clock.Sleep(ctx, pause)
}

// Settle calls ask until it returns false for again. It waits between the calls, and repeats the
// call at most Options.Retries times. This helps if one server of a registry does not see yet what
// was written to another server. Settle returns the error of the last call, or the context's.
func (c *Client) Settle(ctx context.Context, ask func() (again bool, err error)) error {
	for try := 0; ; try++ {
		again, err := ask()
		if !again || try >= c.options.Retries {
			return err
		}
		c.stats.retries.Add(1)
		if err := c.options.Clock.Sleep(ctx, c.backoff(try)); err != nil {
			return err
		}
	}
}

// retryAfter returns how long the server asks the client to wait, or 0. The Retry-After header
// contains seconds, or a date by the server's clock (RFC 9110, section 10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if n, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
		now = theirs
	}
	return max(0, at.Sub(now))
}
