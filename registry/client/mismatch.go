package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// mismatchRetries is how often a request is repeated whose answer cannot be right, whatever
// Options.Retries says. A cache, a proxy or a disk may have corrupted one answer; only an
// answer that stays wrong says something about the registry.
const mismatchRetries = 2

// RetryMismatch calls ask, and calls it again, with pauses, while isWrong says that its
// error is about a wrong answer: at most two more times. fresh tells ask to bypass caches.
// The error is that of the last call, or the context's.
func (c *Client) RetryMismatch(ctx context.Context, isWrong func(error) bool, ask func(fresh bool) error) error {
	for asked := 0; ; asked++ {
		err := ask(asked > 0)
		if err == nil || !isWrong(err) {
			return err
		}
		if asked == mismatchRetries {
			return persistent(err)
		}
		if err := c.pauseAfterMismatch(ctx, asked, err); err != nil {
			return err
		}
	}
}

// retryMismatch sends a call again, bypassing caches, while its answer is a mismatch.
func (c *Client) retryMismatch(ctx context.Context, k *call, ask func() error) error {
	return c.RetryMismatch(ctx, func(err error) bool { return isMismatch(err) && !k.once }, func(fresh bool) error {
		if fresh {
			k.header = pastCaches(k.header)
		}
		return ask()
	})
}

// pauseAfterMismatch waits before a request with a wrong answer is repeated.
func (c *Client) pauseAfterMismatch(ctx context.Context, asked int, err error) error {
	pause := c.backoff(asked)
	c.stats.retries.Add(1)
	if c.options.Retrying != nil {
		c.options.Retrying(err, pause)
	}
	return c.options.Clock.Sleep(ctx, pause)
}

func isMismatch(err error) bool { return errors.Is(err, ErrMismatch) }

// persistent adds to an error that the answer was wrong each time.
func persistent(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%w (asked %d times)", err, mismatchRetries+1)
	}
	e.Err = fmt.Errorf("%w (asked %d times)", e.Err, mismatchRetries+1)
	return err
}

// pastCaches returns a header that makes caches ask the registry (RFC 9111, section
// 5.2.1.4; section 5.4 for old ones).
func pastCaches(h http.Header) http.Header {
	h = h.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Cache-Control", "no-cache")
	h.Set("Pragma", "no-cache")
	return h
}
