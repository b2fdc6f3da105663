// Package wait bounds how long callers wait for what cannot be interrupted.
//
// An open or a read of a file on a disk or a server that hangs ends when the system
// wants it to, and no context ends it. So it is done in a goroutine of its own, and the
// caller waits for it no longer than its context lasts: [For]. Where several callers want
// the same thing it is done once for all of them, and no lock is held meanwhile: [Flight].
package wait

import (
	"context"
	"sync"
)

// For calls do in a goroutine of its own and returns what do returns, or the context's
// cause if ctx ends before. Then late, which may be nil, is called with what do returns
// in the end, unless that is an error.
func For[T any](ctx context.Context, do func() (T, error), late func(T)) (T, error) {
	var (
		value T
		err   error
		mu    sync.Mutex
		left  bool // nobody waits any more
	)
	done := make(chan struct{})
	go func() {
		v, e := do()
		mu.Lock()
		value, err = v, e
		close(done)
		gone := left
		mu.Unlock()
		if gone && e == nil && late != nil {
			late(v)
		}
	}()
	select {
	case <-done:
		return value, err
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	select {
	case <-done: // it was faster
		return value, err
	default:
	}
	left = true
	var none T
	return none, context.Cause(ctx)
}

// Flight is something that is done by one goroutine at a time, for all who ask meanwhile.
// The zero value is ready to use.
type Flight[T any] struct {
	mu   sync.Mutex
	call *call[T] // nil while nothing is under way
}

// call is one run of a flight. The flight's lock guards it until done is closed.
type call[T any] struct {
	done    chan struct{}
	waiting int
	cancel  context.CancelFunc
	left    bool // everybody went, so it was cancelled
	value   T
	err     error
}

// Do returns what do returns: called by this caller, or by one who came before while that
// call is still under way. The context that do gets ends when nobody waits for it any
// more. A do that goes on all the same is waited for before there is another one, so that
// one goroutine at most is stuck. Errors: those of do; the cause of ctx.
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

// join returns the call under way, or a new one. A caller who has not joined waits for
// the end of one that was cancelled.
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

// leave cancels a call that nobody waits for any more.
func (f *Flight[T]) leave(c *call[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.waiting--; c.waiting == 0 {
		c.left = true
		c.cancel()
	}
}
