package client

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// stallTimer cancels a request that makes no progress for too long. It is paused while this program
// reads the content to send or processes an answer, because the server then waits for this program.
type stallTimer struct {
	limit  time.Duration
	cancel context.CancelCauseFunc
	mu     sync.Mutex
	timer  *time.Timer
	ended  bool
}

// newStallTimer returns a context, and starts a timer that cancels the context after limit. The
// cause of the context's end is then ErrStalled.
func newStallTimer(ctx context.Context, limit time.Duration) (context.Context, *stallTimer) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stallTimer{limit: limit, cancel: cancel}
	s.timer = time.AfterFunc(limit, func() { cancel(ErrStalled) })
	return ctx, s
}

func (s *stallTimer) restart(patience time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.timer.Reset(s.limit + patience)
	}
}

func (s *stallTimer) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer.Stop()
}

func (s *stallTimer) end() {
	s.mu.Lock()
	s.ended = true
	s.timer.Stop()
	s.mu.Unlock()
	s.cancel(context.Canceled)
}

// sending is the body of a request. Each time the transport reads from it, that counts as progress.
type sending struct {
	body     io.ReadCloser
	stall    *stallTimer
	patience time.Duration // how long the answer may take beyond the stall timer's limit, after everything was sent
	sent     func(int)
	broken   atomic.Pointer[LocalError]
}

func (s *sending) Read(p []byte) (int, error) {
	s.stall.pause()
	n, err := s.body.Read(p)
	if err != nil {
		s.stall.restart(s.patience)
	} else {
		s.stall.restart(0)
	}
	s.sent(n)
	if err != nil && err != io.EOF {
		s.broken.CompareAndSwap(nil, &LocalError{err})
	}
	return n, err
}

// Close closes the body.
func (s *sending) Close() error { return s.body.Close() }

// failed returns the error from reading the body, or nil.
func (s *sending) failed() error {
	if s == nil {
		return nil
	}
	if e := s.broken.Load(); e != nil {
		return e
	}
	return nil
}

// receiving is the body of an answer. done is called once, when the body is closed.
type receiving struct {
	body  io.ReadCloser
	home  bool // the answer comes from the call's own host, without a redirect to another one
	stall *stallTimer
	got   func(int)
	done  func()
	once  sync.Once
}

func (r *receiving) Read(p []byte) (int, error) {
	r.stall.restart(0)
	n, err := r.body.Read(p)
	r.stall.pause()
	r.got(n)
	return n, err
}

func (r *receiving) Close() error {
	err := r.body.Close()
	r.once.Do(func() {
		r.stall.end()
		r.done()
	})
	return err
}
