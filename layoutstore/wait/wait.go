// Package wait limits how long callers wait for calls that cannot be interrupted.
//
// If a disk or server hangs, opening or reading a file may take very long, and the end of a context does not
// stop it. So [For] makes the call in a new goroutine, and its caller waits only until the context ends.
// [Flight] makes one call for all callers that need the same result. It holds no lock during the call.
package wait

import (
	"context"
	"sync"
)

// For calls do in a new goroutine and returns its result. If ctx ends first, For returns the cause
// of ctx. When do returns later, For passes its result to late, unless do failed. late may be nil.
func For[T any](ctx context.Context, do func() (T, error), late func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done: // do has returned at the same time
		return r.value, r.err
	default:
	}
	if late != nil {
		go func() {
			if r := <-done; r.err == nil {
				late(r.value)
			}
		}()
	}
	var none T
	return none, context.Cause(ctx)
}

// Flight makes a call in at most one goroutine at a time. All callers that come during this call
// share its result. The zero value is ready to use.
type Flight[T any] struct {
	mu   sync.Mutex
	call *call[T] // nil if no call is running
}

// call is one call of a Flight. The lock of the Flight guards the fields until done is closed.
type call[T any] struct {
	done    chan struct{}
	waiting int
	cancel  context.CancelFunc
	left    bool // the call was cancelled because all callers have left
	value   T
	err     error
}

// Do returns the result of do. If the call of an earlier caller is still running, Do returns the
// result of that call. The context of do ends when no caller is waiting any more. If do still does
// not return, the next call starts only when do has returned, so at most one goroutine hangs. If
// ctx ends, Do returns its cause. Other errors come from do.
func (f *Flight[T]) Do(ctx context.Context, do func(context.Context) (T, error)) (T, error) {
	var none T
	for {
		c, joined := f.join(ctx, do)
		select {
		case <-c.done:
			if joined {
				return c.value, c.err
			}
		case <-ctx.Done():
			if joined {
				f.leave(c)
			}
			return none, context.Cause(ctx)
		}
	}
}

// join returns the running call, or starts a new one. If joined is false, the running call was
// cancelled, and the caller must wait for its end.
func (f *Flight[T]) join(ctx context.Context, do func(context.Context) (T, error)) (c *call[T], joined bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.call; c != nil {
		if c.left {
			return c, false
		}
		c.waiting++
		return c, true
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c = &call[T]{done: make(chan struct{}), waiting: 1, cancel: cancel}
	f.call = c
	go func() {
		defer cancel()
		value, err := do(own)
		f.mu.Lock()
		defer f.mu.Unlock()
		c.value, c.err = value, err
		f.call = nil
		close(c.done)
	}()
	return c, true
}

// leave cancels the call if its last caller leaves.
func (f *Flight[T]) leave(c *call[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.waiting--; c.waiting == 0 {
		c.left = true
		c.cancel()
	}
}
