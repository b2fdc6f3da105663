package client

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	firstPause = 500 * time.Millisecond
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

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
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
