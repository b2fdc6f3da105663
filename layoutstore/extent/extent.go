// Package extent describes where bytes are stored, and reads them.
//
// An [Extent] is a run of bytes in a file or in an object of a bucket; a [List] is several runs read one
// after the other as if they were one file. A blob of an unpacked layout is one extent that covers a
// complete file. An entry of a tar archive is one extent in the middle of a file. An entry of an archive
// that was cut into chunks has one extent per chunk that contains a part of it.
//
// Start with [List.Slice], which is the only byte arithmetic of the program, and [List.Open].
//
// The reader that [List.Open] returns for a single extent of a file keeps the kernel's fast
// path: net/http sends it by sendfile(2), also from the middle of a file. No reader returns a
// byte from outside of its extents. An object ([Ranged]) is read by requests for ranges, one
// for each run of bytes that is read without a seek.
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

// ErrStale says that a file no longer has the bytes that an extent was made for: it was
// cut short, replaced or removed.
var ErrStale = errors.New("the file has changed since it was indexed")

// File can be opened again and again, each time with its own position.
type File interface {
	// Open opens the file for reading. The caller closes it. ctx limits the wait for the
	// open file, but not the reading: only closing the file ends that. Errors: the cause
	// of ctx if it has ended; those of the file system.
	Open(ctx context.Context) (*os.File, error)
	// String is the file's path as a person would look for it.
	String() string
}

// Checker is a File that can check whether an open file is still in the state that its extents
// were made for. A reader checks the file before it returns bytes, but cannot check bytes that
// the kernel sends: see [Sender].
type Checker interface {
	File
	// Check returns an error that wraps ErrStale if the file has changed.
	Check(fs.FileInfo) error
}

// Cached is a File that may be opened without waiting for a disk.
type Cached interface {
	File
	// OpenCached opens the file from the system's memory, and returns its present
	// state. The caller closes it. Open may succeed even if OpenCached fails.
	OpenCached() (*os.File, fs.FileInfo, error)
}

// Ranged is an object of a bucket, which is read by requests for ranges of it. Its Open fails:
// only files can be opened.
type Ranged interface {
	File
	// OpenRange requests n bytes from byte off on. The caller closes the body, and treats a
	// body that ends early as an error. The end of ctx ends the request and the reading of
	// the body. Errors: the cause of ctx; one that wraps ErrStale if the object has changed
	// since its extents were made, or is gone; those of the bucket.
	OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

// Sender is implemented by the readers of [List.Open], for callers that send the content. The kernel
// can send a section, where plain reading would copy it, and Check reports that a file has changed
// meanwhile.
type Sender interface {
	io.ReadSeekCloser
	// Section returns a reader of at most n of the next bytes, all from one file. Its N is the
	// number of bytes. The position moves past them: the caller reads all of them, or nothing more.
	Section(n int64) (*io.LimitedReader, error)
	// Check returns an error that wraps ErrStale if a file that bytes came from has changed since.
	Check() error
	// ReadChecks reports whether Read checks the file after each read, so that it never
	// returns bytes that were written later.
	ReadChecks() bool
}

// Extent is a run of Len bytes of File, which may be a [Ranged], from byte Off on.
type Extent struct {
	File     File
	Off, Len int64
	Whole    bool // the complete file: if the file is longer by now, it was replaced
}

// List is the concatenation of its extents.
type List []Extent

// Size returns the number of bytes in the list.
func (l List) Size() int64 {
	var n int64
	for _, e := range l {
		n += e.Len
	}
	return n
}

// String names the files of the list.
func (l List) String() string {
	switch len(l) {
	case 0:
		return "nothing"
	case 1:
		return l[0].File.String()
	}
	return fmt.Sprintf("%s … %s", l[0].File, l[len(l)-1].File)
}

// Slice returns the part of the list that begins at byte off and is n bytes long. The error
// wraps [io.ErrUnexpectedEOF] if the list does not contain all of the part.
func (l List) Slice(off, n int64) (List, error) {
	size := l.Size()
	if off < 0 || n < 0 || off > size || n > size-off {
		return nil, fmt.Errorf("bytes %d to %d of %d: %w", off, off+n, size, io.ErrUnexpectedEOF)
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

// Open opens the list for reading from its first byte to its last. ctx limits the opening, not
// the reading: see [File]. Errors: the cause of ctx if it has ended; those of opening the files;
// [ErrStale] if a file is too short for its extent. The reader is a [Sender]. It has one file
// open at a time, and opens the next when reading reaches it.
func (l List) Open(ctx context.Context) (io.ReadSeekCloser, error) {
	return l.OpenRange(ctx, 0, math.MaxInt64)
}

// OpenRange is Open for a caller that will read n bytes from byte off on, or up to the end of
// the list: it opens the file with byte off first, or requests only these bytes of an object,
// and none if n is 0. The reader still starts at the first byte of the list, and the caller may
// read all of it.
func (l List) OpenRange(ctx context.Context, off, n int64) (io.ReadSeekCloser, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(l) == 1 {
		if object, ok := l[0].File.(Ranged); ok {
			return openObjectSection(ctx, context.WithoutCancel(ctx), object, l[0], off, n)
		}
		return openFileSection(ctx, l[0]) // it needs no further context, which would be an allocation
	}
	return l.openJoined(ctx, off, n, func(life context.Context, i int, in, n int64) (section, error) {
		return openSection(ctx, life, l[i], in, n)
	})
}

// OpenCachedAt opens the list from the system's memory for a caller that will read from byte off
// on. OpenRange may succeed even if OpenCachedAt fails.
func (l List) OpenCachedAt(ctx context.Context, off int64) (io.ReadSeekCloser, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(l) == 1 {
		return openCachedSection(l[0])
	}
	return l.openJoined(ctx, off, math.MaxInt64, func(_ context.Context, i int, _, _ int64) (section, error) { return openCachedSection(l[i]) })
}

// openJoined opens several extents, or none. open opens the first of them, as openSection does.
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

// endOf returns where a run of n bytes from byte off on ends, or size if that is less.
func endOf(off, n, size int64) int64 {
	if off < 0 || off > size || n > size-off {
		return size
	}
	return off + max(n, 0)
}

// at returns the number of the extent that contains byte off, and the offset in it. If off is
// outside of the list, it returns the first extent.
func (l List) at(off int64) (i int, in int64) {
	for i, e := range l {
		if off >= 0 && off < e.Len {
			return i, off
		}
		off -= e.Len
	}
	return 0, 0
}

// ReadFile reads a file to its end, even if its length has changed, but at most limit bytes.
// Errors: those of [File]; one that wraps ErrTooLong if the file is longer.
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

// ErrTooLong says that a file is longer than may be read into memory.
var ErrTooLong = errors.New("the file is too long")

// ReadAll reads the whole list into memory. The caller has checked its size. Errors: those of
// [List.Open]; the cause of ctx if it ends meanwhile.
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
