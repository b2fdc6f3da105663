package volume

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// windowSize is how much of an archive is read at once: the headers of a dozen
// small entries, or one header and a little of what follows it.
const windowSize = 16 << 10

// window reads an archive by jumps from header to header. Where a chunk is missing
// it reads zeros, and remembers that it did.
type window struct {
	list   extent.List
	size   int64
	file   extent.File // the one that is open
	open   *os.File
	buf    []byte
	from   int64 // where buf begins in the archive
	pos    int64
	failed *gap  // the last read of what is not there
	err    error // of a file: it says nothing of the archive
}

// gap is where a read found nothing to read.
type gap struct {
	off, end int64
	err      error
}

func (g *gap) Error() string { return g.err.Error() }

// touches says whether bytes from to end lie in the gap.
func (g *gap) touches(from, end int64) bool { return from < g.end && end > g.off }

// hole stands for a chunk that is missing.
type hole struct{ name string }

func (h hole) Open() (*os.File, error) { return nil, fmt.Errorf("%s: %w", h.name, errHole) }
func (h hole) String() string          { return h.name }

var errHole = errors.New("the chunk is missing")

// holes are the names of the holes in a list.
func holes(list extent.List) (names []string) {
	for _, e := range list {
		if h, ok := e.File.(hole); ok {
			names = append(names, h.name)
		}
	}
	return names
}

func newWindow(list extent.List) *window {
	return &window{list: list, size: list.Size(), buf: make([]byte, 0, windowSize)}
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

// fill reads the window at pos: what of it lies in one extent.
func (w *window) fill() error {
	part, err := w.list.Slice(w.pos, min(windowSize, w.size-w.pos))
	if err != nil {
		return err
	}
	e := part[0]
	w.from, w.buf = w.pos, w.buf[:e.Len]
	if _, ok := e.File.(hole); ok {
		clear(w.buf)
		w.gap(e, fmt.Errorf("%s is missing", e.File))
		return nil
	}
	if w.file != e.File {
		w.Close()
		if w.open, err = e.File.Open(); err != nil {
			return err
		}
		w.file = e.File
	}
	if n, err := w.open.ReadAt(w.buf, e.Off); n < len(w.buf) {
		if errors.Is(err, io.EOF) {
			err = extent.ErrStale
		}
		return fmt.Errorf("%s: %w", e.File, err)
	}
	return nil
}

// gap remembers that the extent e was to be read. All of it is missing, not only
// what the window wanted.
func (w *window) gap(e extent.Extent, err error) {
	var off int64
	for _, x := range w.list {
		if x.File == e.File {
			w.failed = &gap{off, off + x.Len, err}
			return
		}
		off += x.Len
	}
}

func (w *window) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += w.pos
	case io.SeekEnd:
		offset += w.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
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
