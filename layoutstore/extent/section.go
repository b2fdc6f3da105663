package extent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

type section interface {
	Sender
	// left returns the number of bytes from the position to the end of the section.
	left() (int64, error)
}

// openSection opens e for a caller that will read n bytes, starting at byte off. The section itself still
// starts at its first byte. For an object, life limits the reading. For a file, life, off and n are ignored.
func openSection(ctx, life context.Context, e Extent, off, n int64) (section, error) {
	if object, ok := e.File.(Ranged); ok {
		return openObjectSection(ctx, life, object, e, off, n)
	}
	return openFileSection(ctx, e)
}

// fileSection reads one extent of a file. It uses the position of the open file, which the kernel moves
// when net/http calls sendfile(2). A seek only records the position; the next read moves the file. This
// saves system calls, because http.ServeContent seeks to the end and back just to learn the size.
type fileSection struct {
	f        *os.File
	off, len int64
	checker  Checker // nil if the file is not a Checker; then Check compares the file with its state at opening
	opened   fs.FileInfo

	pos   int64 // the offset in the file
	state position
}

// position describes how pos relates to the position of the open file.
type position int

const (
	// The position of the open file is pos.
	atPos position = iota
	// The position of the open file must still be moved to pos.
	seekPending
	// The kernel may have moved the position of the open file, so pos may be out of date.
	unknown
)

func (s *fileSection) Section(n int64) (*io.LimitedReader, error) {
	left, err := s.left()
	if err != nil {
		return nil, err
	}
	return &io.LimitedReader{R: s, N: min(n, left)}, nil
}

func (s *fileSection) ReadChecks() bool { return s.checker != nil }

// seekTo returns the new position after a seek by a reader that is at pos and has size bytes.
func seekTo(offset int64, whence int, pos, size int64) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += pos
	case io.SeekEnd:
		offset += size
	default:
		return 0, fmt.Errorf("seek: invalid whence %d", whence)
	}
	if offset < 0 {
		return 0, errors.New("seek to a negative offset")
	}
	return offset, nil
}

func openFileSection(ctx context.Context, e Extent) (section, error) {
	f, err := e.File.Open(ctx)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return newSection(e, f, info)
}

// errNotCached is the error of OpenCachedAt for a file that does not implement Cached.
var errNotCached = errors.New("the file cannot be opened without a wait for the disk")

// openCachedSection opens e without waiting for a disk.
func openCachedSection(e Extent) (section, error) {
	file, ok := e.File.(Cached)
	if !ok {
		return nil, errNotCached
	}
	f, info, err := file.OpenCached()
	if err != nil {
		return nil, err
	}
	return newSection(e, f, info)
}

// newSection returns a section that reads e from the open file f. If newSection fails, it closes f.
func newSection(e Extent, f *os.File, info fs.FileInfo) (section, error) {
	if info.Size()-e.Len < e.Off || e.Whole && info.Size() != e.Len {
		f.Close()
		return nil, fmt.Errorf("%s: the file has %d bytes instead of %d: %w", e.File, info.Size(), e.Off+e.Len, ErrStale)
	}
	s := &fileSection{f: f, off: e.Off, len: e.Len, pos: e.Off, opened: info}
	s.checker, _ = e.File.(Checker)
	if e.Off > 0 {
		s.state = seekPending
	}
	return s, nil
}

// seekFile moves the file to pos if a seek is pending.
func (s *fileSection) seekFile() error {
	if s.state != seekPending {
		return nil
	}
	_, err := s.f.Seek(s.pos, io.SeekStart)
	if err == nil {
		s.state = atPos
	}
	return err
}

// Check implements Sender. If the file is a Checker, it must be unchanged since its extents were
// made. Otherwise, it must be unchanged since it was opened.
func (s *fileSection) Check() error {
	info, err := s.f.Stat()
	switch {
	case err != nil:
		return err
	case s.checker != nil:
		return s.checker.Check(info)
	case info.Size() != s.opened.Size() || !info.ModTime().Equal(s.opened.ModTime()):
		return fmt.Errorf("%s: %w", s.f.Name(), ErrStale)
	}
	return nil
}

func (s *fileSection) left() (int64, error) {
	err := s.findPosition()
	return s.off + s.len - s.pos, err
}

// findPosition updates pos after the kernel may have moved the file.
func (s *fileSection) findPosition() error {
	if s.state != unknown {
		return nil
	}
	pos, err := s.f.Seek(0, io.SeekCurrent)
	if err == nil {
		s.pos, s.state = pos, atPos
	}
	return err
}

func (s *fileSection) Read(p []byte) (int, error) {
	left, err := s.left()
	if err != nil {
		return 0, err
	}
	if left <= 0 {
		return 0, io.EOF
	}
	if err := s.seekFile(); err != nil {
		return 0, err
	}
	n, err := s.f.Read(p[:min(int64(len(p)), left)])
	s.pos += int64(n)
	if s.checker != nil {
		if stale := s.Check(); stale != nil {
			return 0, stale
		}
	}
	return n, err
}

func (s *fileSection) Seek(offset int64, whence int) (int64, error) {
	if err := s.findPosition(); err != nil {
		return 0, err
	}
	pos, err := seekTo(offset, whence, s.pos-s.off, s.len)
	if err == nil && s.off+pos != s.pos {
		s.pos, s.state = s.off+pos, seekPending
	}
	return pos, err
}

// SyscallConn lets net/http send the section with sendfile(2). That needs the file descriptor, the
// position of the file, and the length. The length is in the io.LimitedReader around the section.
func (s *fileSection) SyscallConn() (syscall.RawConn, error) {
	if err := s.seekFile(); err != nil {
		return nil, err
	}
	s.state = unknown
	return s.f.SyscallConn()
}

// WriteTo makes a plain io.Copy stop at the end of the section. Without WriteTo, io.Copy would use
// SyscallConn and continue to the end of the file.
func (s *fileSection) WriteTo(w io.Writer) (int64, error) {
	left, err := s.left()
	if err != nil || left <= 0 {
		return 0, err
	}
	if err := s.seekFile(); err != nil {
		return 0, err
	}
	s.state = unknown
	return io.Copy(w, &io.LimitedReader{R: s.f, N: left})
}

func (s *fileSection) Close() error { return s.f.Close() }
