// Package wait limits how long callers wait for calls that cannot be interrupted.
//
// If a disk or server hangs, opening or reading a file there ends when the system decides, whatever
// the context. So [For] makes the call in a goroutine of its own, and the caller waits no longer
// than its context lasts. [Flight] makes one call for all callers that need the same result, and
// holds no lock meanwhile.
package wait

import (
	"context"
	"sync"
)

// For calls do in a goroutine of its own and returns its result, or the context's cause if ctx ends
// first. In that case, For passes the result of do to late once do returns, unless it is an error.
// late may be nil.
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
	case r := <-done: // do returned at the same time
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

// Flight is a call that at most one goroutine makes at a time, for all callers that need its
// result meanwhile. The zero value is ready to use.
type Flight[T any] struct {
	mu   sync.Mutex
	call *call[T] // nil while no call is running
}

// call is one run of a flight. The flight's lock guards it until done is closed.
type call[T any] struct {
	done    chan struct{}
	waiting int
	cancel  context.CancelFunc
	left    bool // all callers have left, so the call was cancelled
	value   T
	err     error
}

// Do returns the result of do, or of the call for an earlier caller if that is still running. The
// context of do ends when no caller waits any more. If do continues nevertheless, the next call
// starts only after it has returned, so at most one goroutine is stuck. Errors: those of do; the
// cause of ctx.
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

// join returns the running call, or starts one. If joined is false, the running call was cancelled,
// and the caller has to wait for its end.
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

// leave cancels a call when its last caller leaves.
func (f *Flight[T]) leave(c *call[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.waiting--; c.waiting == 0 {
		c.left = true
		c.cancel()
	}
}
