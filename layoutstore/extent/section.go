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

// section reads one extent.
type section interface {
	Sender
	// left returns the number of bytes between the position and the section's end.
	left() (int64, error)
}

// openSection opens e for a caller that will read n bytes from byte off on. The section still
// starts at its first byte. The reading of an object ends with life. If e is in a file, life, off
// and n do not matter.
func openSection(ctx, life context.Context, e Extent, off, n int64) (section, error) {
	if object, ok := e.File.(Ranged); ok {
		return openObjectSection(ctx, life, object, e, off, n)
	}
	return openFileSection(ctx, e)
}

// fileSection reads one extent of a file. It uses the file's own position, because the kernel
// moves that when net/http sends by sendfile. A seek moves the file only when the next byte is
// read: http.ServeContent seeks to the end and back just to learn the size.
type fileSection struct {
	f        *os.File
	off, len int64
	checker  Checker // nil if the file can only be compared with its state when it was opened
	opened   fs.FileInfo

	pos   int64 // in the file
	state position
}

// position says how pos relates to the position of the file.
type position int

const (
	atPos       position = iota // the file is at pos
	seekPending                 // the file must be moved to pos
	unknown                     // the kernel may have moved the file
)

// Section implements Sender.
func (s *fileSection) Section(n int64) (*io.LimitedReader, error) {
	left, err := s.left()
	if err != nil {
		return nil, err
	}
	return &io.LimitedReader{R: s, N: min(n, left)}, nil
}

// ReadChecks implements Sender.
func (s *fileSection) ReadChecks() bool { return s.checker != nil }

// seekTo returns the new position of a reader of size bytes that is at pos, after a seek.
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
		return 0, errors.New("seek before the beginning")
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

// errNotCached is the error for a file that is not a Cached.
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

// newSection reads e from f. If it fails, it closes f.
func newSection(e Extent, f *os.File, info fs.FileInfo) (section, error) {
	if info.Size()-e.Len < e.Off || e.Whole && info.Size() != e.Len {
		f.Close()
		return nil, fmt.Errorf("%s: %d bytes, %d expected: %w", e.File, info.Size(), e.Off+e.Len, ErrStale)
	}
	s := &fileSection{f: f, off: e.Off, len: e.Len, pos: e.Off, opened: info}
	s.checker, _ = e.File.(Checker)
	if e.Off > 0 {
		s.state = seekPending
	}
	return s, nil
}

// seekFile moves the file to pos, unless it is there.
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

// Check implements Sender. The file must be unchanged since its extents were made, or, if it is not
// a Checker, since it was opened.
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

// findPosition reads the position to which the kernel has moved the file.
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

// SyscallConn lets net/http send the section by sendfile, which needs the file descriptor, its
// position, and the length in the io.LimitedReader around the section.
func (s *fileSection) SyscallConn() (syscall.RawConn, error) {
	if err := s.seekFile(); err != nil {
		return nil, err
	}
	s.state = unknown
	return s.f.SyscallConn()
}

// WriteTo stops a plain io.Copy at the end of the section. Without it the copy would use
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
