package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// doubts is how often something is asked for again whose answer cannot be right, whatever
// Options.Retries says: a cache, a proxy or a disk may have spoiled one answer, and only
// an answer that stays wrong says something about the registry.
const doubts = 2

// Insist calls ask, and calls it again, with pauses, while isWrong says that its error is
// about a wrong answer: twice more at most. fresh tells ask to go past caches. The error is
// that of the last call, or the context's.
func (c *Client) Insist(ctx context.Context, isWrong func(error) bool, ask func(fresh bool) error) error {
	for asked := 0; ; asked++ {
		err := ask(asked > 0)
		if err == nil || !isWrong(err) {
			return err
		}
		if asked == doubts {
			return persistent(err)
		}
		if err := c.doubt(ctx, asked, err); err != nil {
			return err
		}
	}
}

// insist sends a call again, past caches, while its answer is not what was asked.
func (c *Client) insist(ctx context.Context, k *call, ask func() error) error {
	return c.Insist(ctx, func(err error) bool { return isMismatch(err) && !k.once }, func(fresh bool) error {
		if fresh {
			k.header = pastCaches(k.header)
		}
		return ask()
	})
}

// doubt waits before what was answered wrong is asked for again.
func (c *Client) doubt(ctx context.Context, asked int, err error) error {
	pause := c.backoff(asked)
	c.retries.Add(1)
	if c.options.Retrying != nil {
		c.options.Retrying(err, pause)
	}
	return c.options.Clock.Sleep(ctx, pause)
}

func isMismatch(err error) bool { return errors.Is(err, ErrMismatch) }

// persistent says of an error that the answer was wrong each time.
func persistent(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%w (asked %d times)", err, doubts+1)
	}
	e.Err = fmt.Errorf("%w (asked %d times)", e.Err, doubts+1)
	return err
}

// pastCaches is a header that has caches on the way ask the registry (RFC 9111, section
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
