package extent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// objectSection reads one extent of an object. A seek only changes the position. A read at a
// different position than that of the open body requests a new range. So each run of bytes that is
// read without a seek takes one request. All bytes are from the same state of the object, because
// the bucket refuses requests for any other state.
type objectSection struct {
	object   Ranged
	off, len int64
	ctx      context.Context // the context of all requests; when it ends, reading ends too
	stop     context.CancelFunc

	// mu is needed because another goroutine may read while the caller closes the section.
	mu sync.Mutex
	// pos is the offset in the section.
	pos int64
	// until is the offset at which the caller will stop reading, if the caller starts at a lower offset.
	until int64
	body  io.ReadCloser
	// at is the offset in the section of the next byte that body returns.
	at int64
	// end is the offset in the section at which body ends.
	end int64
}

// openObjectSection requests n bytes of e, starting at byte off, or nothing if n is 0. ctx limits
// the wait for the response. life limits the reading.
func openObjectSection(ctx, life context.Context, object Ranged, e Extent, off, n int64) (section, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s := &objectSection{object: object, off: e.Off, len: e.Len, until: endOf(off, n, e.Len)}
	s.ctx, s.stop = context.WithCancel(life)
	if n <= 0 || off < 0 || off >= e.Len {
		return s, nil
	}
	waited := context.AfterFunc(ctx, s.stop)
	err := s.request(off)
	if !waited() {
		err = errors.Join(context.Cause(ctx), s.Close())
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// request replaces the body with a new one that begins at the given offset in the section.
func (s *objectSection) request(at int64) error {
	s.closeBody()
	end := s.len
	if at < s.until {
		end = s.until
	}
	body, err := s.object.OpenRange(s.ctx, s.off+at, end-at)
	if err != nil {
		return err
	}
	s.body, s.at, s.end = body, at, end
	return nil
}

func (s *objectSection) closeBody() {
	if s.body != nil {
		s.body.Close() // the rest of the body is not needed
		s.body = nil
	}
}

func (s *objectSection) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if s.pos >= s.len {
		return 0, io.EOF
	}
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	if s.body == nil || s.at != s.pos {
		if err := s.request(s.pos); err != nil {
			return 0, err
		}
	}
	n, err := s.body.Read(p[:min(int64(len(p)), s.end-s.at)])
	s.pos, s.at = s.pos+int64(n), s.at+int64(n)
	switch {
	case s.at == s.end:
		err = nil // all bytes have been read, so an error no longer matters
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = fmt.Errorf("%s: reading stopped at byte %d of the range %d to %d: %w", s.object, s.off+s.at, s.off, s.off+s.len, err)
	}
	if err != nil || s.at == s.end {
		s.closeBody()
	}
	return n, err
}

func (s *objectSection) Seek(offset int64, whence int) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pos, err := seekTo(offset, whence, s.pos, s.len)
	if err == nil {
		s.pos = pos
	}
	return pos, err
}

func (s *objectSection) left() (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.len - s.pos, nil
}

func (s *objectSection) Section(n int64) (*io.LimitedReader, error) {
	left, err := s.left()
	return &io.LimitedReader{R: s, N: max(min(n, left), 0)}, err
}

// Check implements Sender. It returns nil, because the bucket only returns bytes from the state of
// the object for which the extents were made.
func (s *objectSection) Check() error { return nil }

func (s *objectSection) ReadChecks() bool { return true }

// Close closes the section. It also ends a request or a read for which another goroutine is waiting.
func (s *objectSection) Close() error {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeBody()
	return nil
}
