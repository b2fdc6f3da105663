package client

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// silence cancels a request when nothing has moved for too long. Its clock stands
// still while the program itself is at work: reading what it sends, or writing what
// it got.
type silence struct {
	limit  time.Duration
	cancel context.CancelCauseFunc
	mu     sync.Mutex
	timer  *time.Timer
	ended  bool
}

// newSilence makes a context that ends with ErrStalled as its cause after limit,
// and starts its clock.
func newSilence(ctx context.Context, limit time.Duration) (context.Context, *silence) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &silence{limit: limit, cancel: cancel}
	s.timer = time.AfterFunc(limit, func() { cancel(ErrStalled) })
	return ctx, s
}

// listen starts the clock anew, for the limit and patience beside it.
func (s *silence) listen(patience time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.timer.Reset(s.limit + patience)
	}
}

// pause stops the clock.
func (s *silence) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer.Stop()
}

// end stops the clock and frees the context.
func (s *silence) end() {
	s.mu.Lock()
	s.ended = true
	s.timer.Stop()
	s.mu.Unlock()
	s.cancel(context.Canceled)
}

// sending is the body of a request: what moves is that the transport comes for more.
type sending struct {
	io.ReadCloser
	silence  *silence
	patience time.Duration // for the answer, once all is sent
	sent     func(int)
	broken   atomic.Pointer[LocalError]
}

func (s *sending) Read(p []byte) (int, error) {
	s.silence.pause()
	n, err := s.ReadCloser.Read(p)
	if err != nil {
		s.silence.listen(s.patience)
	} else {
		s.silence.listen(0)
	}
	s.sent(n)
	if err != nil && err != io.EOF {
		s.broken.CompareAndSwap(nil, &LocalError{err})
	}
	return n, err
}

// failed is what kept the body from being read, or nil.
func (s *sending) failed() error {
	if s == nil {
		return nil
	}
	if e := s.broken.Load(); e != nil {
		return e
	}
	return nil
}

// receiving is the body of an answer. done is called once, when it is closed.
type receiving struct {
	io.ReadCloser
	home    bool // it is from the host that was asked, and no redirect led elsewhere before
	silence *silence
	got     func(int)
	done    func()
	once    sync.Once
}

func (r *receiving) Read(p []byte) (int, error) {
	r.silence.listen(0)
	n, err := r.ReadCloser.Read(p)
	r.silence.pause()
	r.got(n)
	return n, err
}

func (r *receiving) Close() error {
	err := r.ReadCloser.Close()
	r.once.Do(func() {
		r.silence.end()
		r.done()
	})
	return err
}
