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
	firstPause = 500 * time.Millisecond
	// maxAway is how long a registry that cannot be connected to is waited for, from the
	// last progress of a call on. maxAwayPause bounds the pauses meanwhile, and tellAway is
	// how often that is told.
	maxAway      = 2 * time.Minute
	maxAwayPause = 5 * time.Second
	tellAway     = 10 * time.Second
	// maxPause bounds a pause of our own.
	maxPause = 30 * time.Second
	// maxRetryAfter bounds a pause that a server asks for. One that wants a longer one
	// has a quota, and who runs the program has to know.
	maxRetryAfter = 5 * time.Minute
)

// backoff is the pause before try number n+1: it doubles with each, and half of it
// is left to chance, so that those who failed together do not come back together.
func (c *Client) backoff(n int) time.Duration {
	pause := min(c.options.FirstPause<<min(n, 20), maxPause)
	return pause/2 + rand.N(pause/2+1)
}

// Clock is what pauses are measured and waited for by.
type Clock interface {
	Now() time.Time
	// Sleep waits for d, or returns the context's error.
	Sleep(ctx context.Context, d time.Duration) error
}

// clock is the real one.
type clock struct{}

func (clock) Now() time.Time { return time.Now() }

func (clock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// failures are those of a call since it last made progress.
type failures struct {
	count int       // of answers, and of connections that were cut
	away  time.Time // since when no connection is to be had; zero if one was
}

// pause waits before another try after err, which it adds to the failures. It returns
// err where another try makes no sense. Failures with a connection are bounded by
// Options.Retries; how long none is to be had, by time.
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
	c.retries.Add(1)
	if c.options.Retrying != nil {
		c.options.Retrying(err, pause)
	}
	return c.options.Clock.Sleep(ctx, pause)
}

// awaitConnection waits before another try to connect, and tells that every now and then.
func (c *Client) awaitConnection(ctx context.Context, f *failures, err error) error {
	now := c.options.Clock.Now()
	if f.away.IsZero() {
		f.away = now
	}
	if now.Sub(f.away) >= maxAway {
		return err
	}
	pause := min(c.backoff(int(now.Sub(f.away)/time.Second)), maxAwayPause)
	c.retries.Add(1)
	if last := c.awayTold.Load(); c.options.Retrying != nil && now.UnixNano()-last >= int64(tellAway) && c.awayTold.CompareAndSwap(last, now.UnixNano()) {
		c.options.Retrying(err, pause)
	}
	return c.options.Clock.Sleep(ctx, pause)
}

// Settle asks again, with pauses, as long as ask says so, at most Options.Retries times:
// what was written to a registry of several servers is not seen by all of them at once.
// The error is that of the last time, or the context's.
func (c *Client) Settle(ctx context.Context, ask func() (again bool, err error)) error {
	for try := 0; ; try++ {
		again, err := ask()
		if !again || try >= c.options.Retries {
			return err
		}
		c.retries.Add(1)
		if err := c.options.Clock.Sleep(ctx, c.backoff(try)); err != nil {
			return err
		}
	}
}

// retryAfter is the pause that an answer asks for: seconds, or a date by the clock
// of the server. 0 is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
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
