// Package extent describes where content is stored, and reads it.
//
// An [Extent] is a run of bytes in a file or in an object of a bucket. A [List] combines several
// extents into one sequence of bytes. A blob in an unpacked layout is one extent that covers a
// complete file. An entry in a tar archive is one extent in the middle of a file. If the archive
// was cut into chunks, an entry has one extent in each chunk that it spans.
//
// Start with [List.Slice], which does all arithmetic with byte offsets, and with [List.Open].
//
// If a list is a single extent of a file, net/http can send the list with sendfile(2), even from
// the middle of the file. No reader returns a byte from outside of its extents. An object
// ([Ranged]) is read with range requests, one for each run of bytes that is read without a seek.
package extent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
)

// ErrStale means that a file no longer contains the bytes of an extent, because it was truncated,
// replaced or removed.
var ErrStale = errors.New("the file has changed since it was indexed")

// File can be opened several times. Each open file has its own position.
type File interface {
	// Open opens the file for reading. The caller must close it. ctx limits how long Open may take,
	// but not the reading, which ends only when the file is closed. If ctx ends first, Open returns
	// its cause. Other errors come from the file system.
	Open(ctx context.Context) (*os.File, error)
	// String returns the path under which a person would look for the file.
	String() string
}

// Checker is a File that can detect whether it has changed since its extents were made. A reader checks
// the file before it returns bytes. It cannot check bytes that the kernel sends itself; see [Sender].
type Checker interface {
	File
	// Check returns an error that wraps ErrStale if the file has changed.
	Check(fs.FileInfo) error
}

// Cached is a File that can sometimes be opened without waiting for a disk.
type Cached interface {
	File
	// OpenCached opens the file from memory and returns its current attributes. The caller must
	// close it. If OpenCached fails, Open may still succeed.
	OpenCached() (*os.File, fs.FileInfo, error)
}

// Ranged is an object in a bucket, which is read with range requests. Its Open fails, because only
// files can be opened.
type Ranged interface {
	File
	// OpenRange requests n bytes, starting at byte off. The caller must close the body, and must
	// treat a body that ends early as an error. When ctx ends, the request and the reading of the
	// body fail with the cause of ctx. If the object is missing or has changed since its extents
	// were made, the error wraps ErrStale. Other errors come from the bucket.
	OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

// Sender is the interface for sending content, for example over HTTP. The readers that [List.Open] returns
// implement it. The kernel can send a section without copying it; Check then detects a file that has changed.
type Sender interface {
	io.ReadSeekCloser
	// Section returns a reader of the next bytes: at most n, and all from one file. The field N of
	// that reader is the number of these bytes. The position of the Sender moves past them, so the
	// caller must read all of them before it uses the Sender again.
	Section(n int64) (*io.LimitedReader, error)
	// Check returns an error that wraps ErrStale if the open file has changed since its extents were made or,
	// if it is not a [Checker], since it was opened.
	Check() error
	// ReadChecks reports whether Read checks the file after each read. If so, Read never returns
	// bytes that were written after the extents were made.
	ReadChecks() bool
}

// Extent is a run of Len bytes in File, starting at byte Off. File may be a [Ranged].
type Extent struct {
	File     File
	Off, Len int64
	Whole    bool // the extent covers the complete file, so a file that has grown is stale
}

// List is a sequence of extents, which are read one after the other.
type List []Extent

// Size returns the number of bytes in the list.
func (l List) Size() int64 {
	var n int64
	for _, e := range l {
		n += e.Len
	}
	return n
}

// String returns the name of the first file in the list, and that of the last if there are several.
func (l List) String() string {
	switch len(l) {
	case 0:
		return "nothing"
	case 1:
		return l[0].File.String()
	}
	return fmt.Sprintf("%s … %s", l[0].File, l[len(l)-1].File)
}

// Slice returns the n bytes of the list that start at byte off. If the list does not contain all of
// them, the error wraps [io.ErrUnexpectedEOF].
func (l List) Slice(off, n int64) (List, error) {
	size := l.Size()
	if off < 0 || n < 0 || off > size || n > size-off {
		return nil, fmt.Errorf("bytes %d to %d are not within the %d bytes of the content: %w", off, off+n, size, io.ErrUnexpectedEOF)
	}
	var part List
	for _, e := range l {
		if off >= e.Len {
			off -= e.Len
			continue
		}
		if n == 0 {
			break
		}
		take := min(n, e.Len-off)
		part = append(part, Extent{File: e.File, Off: e.Off + off, Len: take, Whole: e.Whole && take == e.Len})
		off, n = 0, n-take
	}
	return part, nil
}

// Open opens the list for reading. ctx limits how long the opening may take, but not the reading; see [File].
// If ctx ends first, Open returns its cause. If a file is too short for its extent, it returns [ErrStale].
// Other errors come from opening the files. The reader is a [Sender]. It has one file open at a time.
func (l List) Open(ctx context.Context) (io.ReadSeekCloser, error) {
	return l.OpenRange(ctx, 0, math.MaxInt64)
}

// OpenRange is Open for a caller that will read n bytes, starting at byte off, or up to the end of the list.
// It opens the file that contains byte off. From an object, it requests only these bytes, or nothing if n is
// 0. The reader still starts at the first byte of the list, and the caller may read all of the list.
func (l List) OpenRange(ctx context.Context, off, n int64) (io.ReadSeekCloser, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(l) == 1 {
		if object, ok := l[0].File.(Ranged); ok {
			return openObjectSection(ctx, context.WithoutCancel(ctx), object, l[0], off, n)
		}
		return openFileSection(ctx, l[0]) // a file needs no context of its own, which would cost an allocation
	}
	return l.openJoined(ctx, off, n, func(life context.Context, i int, in, n int64) (section, error) {
		return openSection(ctx, life, l[i], in, n)
	})
}

// OpenCachedAt opens the list from memory, for a caller that will start to read at byte off. If
// OpenCachedAt fails, OpenRange may still succeed.
func (l List) OpenCachedAt(ctx context.Context, off int64) (io.ReadSeekCloser, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(l) == 1 {
		return openCachedSection(l[0])
	}
	return l.openJoined(ctx, off, math.MaxInt64, func(_ context.Context, i int, _, _ int64) (section, error) { return openCachedSection(l[i]) })
}

// openJoined opens a list of several extents or none. It calls open for the extent that contains
// byte off; open works like openSection.
func (l List) openJoined(ctx context.Context, off, n int64, open func(life context.Context, i int, in, n int64) (section, error)) (io.ReadSeekCloser, error) {
	j := &joined{list: l, size: l.Size(), ctx: context.WithoutCancel(ctx)}
	j.until = endOf(off, n, j.size)
	if slices.ContainsFunc(l, func(e Extent) bool { _, ok := e.File.(Ranged); return ok }) {
		j.ctx, j.stop = context.WithCancel(j.ctx)
	}
	if len(l) > 0 {
		i, in := l.at(off)
		var err error
		if j.open, err = open(j.ctx, i, in, min(j.until-off, l[i].Len-in)); err != nil {
			j.end()
			return nil, err
		}
		j.next, j.sought = i+1, i > 0
	}
	return j, nil
}

// endOf returns the offset after the n bytes that start at byte off, or size if that is smaller.
func endOf(off, n, size int64) int64 {
	if off < 0 || off > size || n > size-off {
		return size
	}
	return off + max(n, 0)
}

// at returns the number of the extent that contains byte off, and the offset within it. If off is
// outside of the list, at returns the start of the first extent.
func (l List) at(off int64) (i int, in int64) {
	for i, e := range l {
		if off >= 0 && off < e.Len {
			return i, off
		}
		off -= e.Len
	}
	return 0, 0
}

// ReadFile reads a file to its end, even if its length has changed. If the file is longer than
// limit bytes, the error wraps ErrTooLong. Other errors come from [File].
func ReadFile(ctx context.Context, f File, limit int64) ([]byte, error) {
	file, err := f.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: more than %d bytes: %w", f, limit, ErrTooLong)
	}
	return data, err
}

// ErrTooLong means that a file is longer than the limit for reading it into memory.
var ErrTooLong = errors.New("the file is too long")

// ReadAll reads the complete list into memory. The caller must check its size first. If ctx ends,
// ReadAll returns its cause. Other errors come from [List.Open] and from reading.
func (l List) ReadAll(ctx context.Context) ([]byte, error) {
	r, err := l.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, l.Size())
	if _, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = ErrStale
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("%s: %w", l, err)
	}
	return b, nil
}
