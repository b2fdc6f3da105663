package extent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// OpenOnce opens the list for a caller that reads it once from start to end, and that reads more
// than fits into memory. If the system can report which pages are cached, the reader keeps these in
// the page cache and drops all others after reading them. When ctx ends, reading an object ends, and
// no further file is opened. A file that is open can still be read to the end of its extent. OpenOnce
// returns the same errors as [List.Open].
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

// once is a reader that reads each extent once, one after the other.
type once struct {
	rest List
	ctx  context.Context
	// open is the section being read, or nil at the end.
	open section
	// file is the same section as open if the section is in a file, and otherwise nil.
	file *fileSection
	// cold contains the windows of the open file that are to be dropped after reading, in order.
	cold []window

	// dropped covers the adjacent windows that were dropped last.
	dropped window
}

// window is a run of bytes in a file.
type window struct{ off, len int64 }

// windowSize is the number of bytes that are checked at once, and dropped from the page cache at once.
const windowSize = 1 << 20

// maxPage is the size in bytes of the largest memory pages that cache files.
const maxPage = 8 << 20

// next opens the next extent. At the end, it returns io.EOF.
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
			return 0, fmt.Errorf("%s: %w", r.file.f.Name(), ErrStale) // this is a file, because objects never end early without an error
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

// drop drops all windows that end before pos.
func (r *once) drop(pos int64) {
	for len(r.cold) > 0 && r.cold[0].off+r.cold[0].len <= pos {
		r.dropFirst()
		r.cold = r.cold[1:]
	}
}

// dropFirst drops the first window of cold. In the same system call, it again drops the windows just before
// that window, because the system drops a large page only if all of the page is dropped at once.
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

// Close closes the section that is open.
func (r *once) Close() error {
	if r.open == nil {
		return nil
	}
	if len(r.cold) > 0 && r.file.pos > r.cold[0].off {
		r.dropFirst() // a part of this window has been read
	}
	s := r.open
	r.open, r.file, r.cold, r.dropped = nil, nil, nil, window{}
	return s.Close()
}

// coldWindows returns the windows of a file that are not cached at all.
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
