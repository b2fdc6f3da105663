package extent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// OpenOnce opens the list for one read from start to end, by a caller that reads more than fits
// into memory. Where the system can tell which pages are cached, the reader drops pages that were
// not cached before, and keeps the rest for others. The end of ctx ends the reading. Errors: those
// of [List.Open].
func (l List) OpenOnce(ctx context.Context) (io.ReadCloser, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r := &once{rest: l, ctx: ctx}
	if err := r.next(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return r, nil
}

// once reads extents one after the other.
type once struct {
	rest List
	ctx  context.Context
	open section      // nil at the end
	file *fileSection // the open section, if it is one of a file
	cold []window     // of the open file, in order, to be dropped after they are read

	dropped window // the last dropped windows: a run without a gap
}

// window is a run of bytes in a file.
type window struct{ off, len int64 }

// windowSize is how many bytes are checked, and dropped from memory, in one step.
const windowSize = 1 << 20

// maxPage is the largest size in bytes of a memory page with a file's content.
const maxPage = 8 << 20

// next opens the next extent, or returns io.EOF at the end.
func (r *once) next() error {
	if r.open != nil {
		stale := r.open.Check()
		r.Close()
		if stale != nil {
			return stale
		}
	}
	if len(r.rest) == 0 {
		return io.EOF
	}
	s, err := openSection(r.ctx, r.ctx, r.rest[0], 0, r.rest[0].Len)
	if err != nil {
		return err
	}
	if file, ok := s.(*fileSection); ok {
		r.file, r.cold = file, coldWindows(file.f, file.off, file.len)
	}
	r.open, r.rest = s, r.rest[1:]
	return nil
}

func (r *once) Read(p []byte) (int, error) {
	for r.open != nil {
		n, err := r.open.Read(p)
		if r.file != nil {
			r.drop(r.file.pos)
		}
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		if left, _ := r.open.left(); left > 0 {
			return 0, fmt.Errorf("%s: %w", r.file.f.Name(), ErrStale) // objects never end early without an error
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

// drop drops the windows before pos.
func (r *once) drop(pos int64) {
	for len(r.cold) > 0 && r.cold[0].off+r.cold[0].len <= pos {
		r.dropFirst()
		r.cold = r.cold[1:]
	}
}

// dropFirst drops the first window, together with the dropped bytes before it: the system drops a
// large page only if all of it is dropped at once.
func (r *once) dropFirst() {
	w := r.cold[0]
	if w.off != r.dropped.off+r.dropped.len {
		r.dropped = window{off: w.off}
	}
	r.dropped.len += w.len
	if r.dropped.len > maxPage+w.len {
		r.dropped = window{w.off - maxPage, maxPage + w.len}
	}
	dropCached(r.file.f, r.dropped)
}

// Close closes the file that is open.
func (r *once) Close() error {
	if r.open == nil {
		return nil
	}
	if len(r.cold) > 0 && r.file.pos > r.cold[0].off {
		r.dropFirst() // the first window was read in part
	}
	s := r.open
	r.open, r.file, r.cold, r.dropped = nil, nil, nil, window{}
	return s.Close()
}

// coldWindows returns those windows of a file of which nothing is in the page cache.
func coldWindows(f *os.File, off, n int64) (all []window) {
	for n > 0 {
		w := window{off, min(n, windowSize)}
		if isCold(f, w) {
			all = append(all, w)
		}
		off, n = off+w.len, n-w.len
	}
	return all
}
