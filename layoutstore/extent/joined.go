package extent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// joined reads several extents, or none, as one sequence of bytes. It has one extent open at a
// time. It needs a lock because a goroutine that http.ServeContent left behind may still read while
// the caller closes the reader.
type joined struct {
	mu   sync.Mutex
	list List
	// ctx has the values of the context with which the list was opened, but does not end when that
	// context ends.
	ctx context.Context
	// stop ends ctx when the reader is closed. It is nil if all extents are in files.
	stop context.CancelFunc
	size int64
	pos  int64

	// until is the offset at which the caller will stop reading, if the caller starts at a lower offset.
	until int64
	// open is the open extent, or nil.
	open section
	// next is the number of the extent after the open one.
	next int
	// sought means that the open extent is not at pos.
	sought bool
}

// end ends a request that has not finished.
func (j *joined) end() {
	if j.stop != nil {
		j.stop()
	}
}

// enter closes the open extent, and opens extent i at its byte off, which must be byte pos of the list.
func (j *joined) enter(i int, off int64) error {
	if j.open != nil {
		stale := j.open.Check()
		j.open.Close()
		j.open = nil
		if stale != nil {
			return stale
		}
	}
	n := j.list[i].Len - off
	if j.pos < j.until {
		n = min(n, j.until-j.pos)
	}
	s, err := openSection(j.ctx, j.ctx, j.list[i], off, n)
	if err != nil {
		return err
	}
	if _, err := s.Seek(off, io.SeekStart); err != nil {
		s.Close()
		return err
	}
	j.open, j.next = s, i+1
	return nil
}

func (j *joined) Read(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for j.pos < j.size {
		if err := j.place(); err != nil {
			return 0, err
		}
		n, err := j.open.Read(p)
		j.pos += int64(n)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		if left, _ := j.open.left(); left > 0 {
			return 0, fmt.Errorf("%s: %w", j.list[j.next-1].File, ErrStale)
		}
		if err := j.enter(j.next, 0); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

func (j *joined) Section(n int64) (*io.LimitedReader, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.pos < j.size {
		if err := j.place(); err != nil {
			return nil, err
		}
		left, err := j.open.left()
		if err != nil {
			return nil, err
		}
		if left > 0 {
			n = min(n, left)
			j.pos += n
			return &io.LimitedReader{R: j.open, N: n}, nil
		}
		if err := j.enter(j.next, 0); err != nil {
			return nil, err
		}
	}
	return &io.LimitedReader{R: strings.NewReader("")}, nil
}

func (j *joined) ReadChecks() bool {
	for _, e := range j.list {
		_, isChecked := e.File.(Checker)
		if _, isObject := e.File.(Ranged); !isChecked && !isObject {
			return false
		}
	}
	return true
}

// Check implements Sender. The files before the open one were checked when they were closed.
func (j *joined) Check() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.open == nil {
		return nil
	}
	return j.open.Check()
}

func (j *joined) Seek(offset int64, whence int) (int64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	pos, err := seekTo(offset, whence, j.pos, j.size)
	// Only the next read moves the file, because http.ServeContent seeks to the end and back just
	// to learn the size.
	if err == nil && pos != j.pos {
		j.pos, j.sought = pos, true
	}
	return pos, err
}

// place opens the extent that contains pos, unless it is open already, and moves it to pos.
func (j *joined) place() error {
	if j.open != nil && !j.sought {
		return nil
	}
	i, in := j.list.at(j.pos)
	if j.open != nil && j.next == i+1 {
		if _, err := j.open.Seek(in, io.SeekStart); err != nil {
			return err
		}
	} else if err := j.enter(i, in); err != nil {
		return err
	}
	j.sought = false
	return nil
}

func (j *joined) Close() error {
	j.end() // end comes first, because a read that waits for a bucket holds the lock
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pos = j.size // prevents a concurrent read from opening further files
	if j.open == nil {
		return nil
	}
	s := j.open
	j.open = nil
	return s.Close()
}
