package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// mismatchRetries is how often a request with a wrong answer is repeated, whatever
// Options.Retries is. A cache, a proxy or a disk may have corrupted a single answer. The registry
// is at fault only if the answer stays wrong.
const mismatchRetries = 2

// RetryMismatch calls ask. If isWrong returns true for the error, it pauses and calls ask again, at
// most twice. ask has to bypass caches if its argument fresh is true. RetryMismatch returns the
// error of the last call, or the context's.
func (c *Client) RetryMismatch(ctx context.Context, isWrong func(error) bool, ask func(fresh bool) error) error {
	for asked := 0; ; asked++ {
		err := ask(asked > 0)
		if err == nil || !isWrong(err) {
			return err
		}
		if asked == mismatchRetries {
			return persistent(err)
		}
		if err := c.reportAndWait(ctx, err, c.backoff(asked)); err != nil {
			return err
		}
	}
}

// retryMismatch is RetryMismatch for calls that fail with ErrMismatch.
func (c *Client) retryMismatch(ctx context.Context, k *call, ask func() error) error {
	return c.RetryMismatch(ctx, func(err error) bool { return isMismatch(err) && !k.once }, func(fresh bool) error {
		if fresh {
			k.header = pastCaches(k.header)
		}
		return ask()
	})
}

func isMismatch(err error) bool { return errors.Is(err, ErrMismatch) }

// persistent adds to an error how many wrong answers the client got.
func persistent(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%w (asked %d times)", err, mismatchRetries+1)
	}
	e.Err = fmt.Errorf("%w (asked %d times)", e.Err, mismatchRetries+1)
	return err
}

// pastCaches copies the header of a request, and adds fields that make caches ask the registry (RFC
// 9111, section 5.2.1.4, and for old caches section 5.4).
func pastCaches(h http.Header) http.Header {
	h = h.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Cache-Control", "no-cache")
	h.Set("Pragma", "no-cache")
	return h
}
