package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// windowSize is how many bytes of a file are read at once. That is enough for the headers of a dozen small
// entries, or for one header and some content. Windows of an object are larger, because each takes a request.
const (
	windowSize       = 16 << 10
	objectWindowSize = 64 << 10
	maxObjectWindow  = 1 << 20
)

// window reads an archive for a scan that seeks from header to header.
type window struct {
	ctx    context.Context
	list   extent.List
	starts []int64 // the offset in the archive at which each extent of the list begins
	size   int64
	file   extent.File // the file that open reads
	open   *os.File
	buf    []byte
	from   int64 // the offset in the archive at which buf begins
	pos    int64
	err    error // the error of reading a file, which does not mean that the archive is damaged
}

func newWindow(ctx context.Context, list extent.List) *window {
	return &window{ctx: ctx, list: list, starts: beginsOf(list), size: list.Size(), buf: make([]byte, 0, windowSize)}
}

func (w *window) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if w.pos >= w.size {
		return 0, io.EOF
	}
	if w.pos < w.from || w.pos >= w.from+int64(len(w.buf)) {
		if err := w.fill(); err != nil {
			w.buf, w.err = w.buf[:0], err
			return 0, err
		}
	}
	n := copy(p, w.buf[w.pos-w.from:])
	w.pos += int64(n)
	return n, nil
}

// fill fills the window from pos up to the end of the extent at most. It finds the extent with a
// binary search, because an archive may have very many chunks.
func (w *window) fill() (err error) {
	// If several extents begin at pos, all but the last are empty.
	i := sort.Search(len(w.starts), func(i int) bool { return w.starts[i] > w.pos }) - 1
	e, skip := w.list[i], w.pos-w.starts[i]
	if object, ok := e.File.(extent.Ranged); ok {
		return w.fillFrom(object, e, skip)
	}
	w.from, w.buf = w.pos, w.buf[:min(windowSize, e.Len-skip)]
	if w.file != e.File {
		w.Close()
		if w.open, err = e.File.Open(w.ctx); err != nil {
			return err
		}
		w.file = e.File
	}
	if n, err := w.open.ReadAt(w.buf, e.Off+skip); n < len(w.buf) {
		if errors.Is(err, io.EOF) {
			err = extent.ErrStale
		}
		return fmt.Errorf("%s: %w", e.File, err)
	}
	return nil
}

// fillFrom fills the window from an object, starting at byte skip of the extent. If the new window
// begins where the last one ended, it is twice as large. So an archive of small entries takes few
// requests. From an archive of large entries, few bytes are read.
func (w *window) fillFrom(object extent.Ranged, e extent.Extent, skip int64) error {
	size := int64(objectWindowSize)
	if w.pos == w.from+int64(len(w.buf)) {
		size = min(max(2*int64(len(w.buf)), size), maxObjectWindow)
	}
	size = min(size, e.Len-skip)
	w.from, w.buf = w.pos, slices.Grow(w.buf[:0], int(size))[:size]
	body, err := object.OpenRange(w.ctx, e.Off+skip, size)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.ReadFull(body, w.buf)
	return err
}

func (w *window) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += w.pos
	case io.SeekEnd:
		offset += w.size
	}
	if offset < 0 {
		return 0, errors.New("seek to a negative offset")
	}
	w.pos = offset
	return offset, nil
}

// Close closes the file that is open.
func (w *window) Close() {
	if w.open != nil {
		w.open.Close()
	}
	w.open, w.file = nil, nil
}
