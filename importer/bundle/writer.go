package bundle

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// Write writes an archive to the files of a form in a directory, and syncs each file to disk.
// Errors: those of open, the context's, the file system's.
func (a *Archive) Write(ctx context.Context, dir string, form Form, open Open) error {
	w := NewWriter(dir, form.Files(a), form.NewSum, ctx.Err)
	err := writeTar(w, a.entries, open)
	if closed := w.Close(); err == nil {
		err = closed
	}
	return err
}

// Writer writes bytes to files in sequence. It syncs each file to disk before it starts the
// next one, and can write a checksum file beside it.
type Writer struct {
	dir    string
	rest   []File // the first of them is being written
	newSum func() hash.Hash
	live   func() error // its error stops the writing

	f    *os.File
	left int64 // bytes left of the open file
	sum  hash.Hash
}

// NewWriter returns a writer to files in a directory, of exactly their sizes. If newSum is nil,
// it writes no checksum files. An error of live stops the writing.
func NewWriter(dir string, files []File, newSum func() hash.Hash, live func() error) *Writer {
	return &Writer{dir: dir, rest: files, newSum: newSum, live: live}
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	done := 0
	for len(p) > done {
		if err := w.openNext(); err != nil {
			return done, err
		}
		n := int(min(int64(len(p)-done), w.left))
		if _, err := w.f.Write(p[done : done+n]); err != nil {
			return done, err
		}
		if w.sum != nil {
			w.sum.Write(p[done : done+n])
		}
		done += n
		if err := w.countWritten(int64(n)); err != nil {
			return done, err
		}
	}
	return done, nil
}

// maxCopied limits the bytes that are copied in one step; writing can stop between steps.
const maxCopied = 64 << 20

// ReadFrom implements io.ReaderFrom: without checksums, the kernel copies files.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	if w.newSum != nil {
		return io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, 1<<20))
	}
	var done int64
	for {
		if err := w.openNext(); err != nil {
			return done, err
		}
		limit := min(w.left, maxCopied)
		n, err := w.f.ReadFrom(io.LimitReader(r, limit))
		done += n
		if werr := w.countWritten(n); err == nil {
			err = werr
		}
		if err != nil || n < limit {
			return done, err
		}
	}
}

// openNext opens the next file if no file is open.
func (w *Writer) openNext() error {
	if err := w.live(); err != nil {
		return err
	}
	if w.f != nil {
		return nil
	}
	if len(w.rest) == 0 {
		return fmt.Errorf("%s: more bytes than planned", w.dir)
	}
	f, err := os.Create(filepath.Join(w.dir, w.rest[0].Name))
	if err != nil {
		return err
	}
	w.f, w.left = f, w.rest[0].Size
	if w.newSum != nil {
		w.sum = w.newSum()
	}
	return nil
}

// countWritten counts n bytes, and closes the file when it is complete.
func (w *Writer) countWritten(n int64) error {
	if w.left -= n; w.left > 0 {
		return nil
	}
	name := w.rest[0].Name
	w.rest = w.rest[1:]
	f := w.f
	w.f = nil
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil || w.sum == nil {
		return err
	}
	return writeSum(filepath.Join(w.dir, sumName(name)), w.sum)
}

// Close closes the open file. It fails if less was written than planned.
func (w *Writer) Close() error {
	if w.f != nil {
		f := w.f
		w.f = nil
		return errors.Join(fmt.Errorf("%s: %d bytes are missing", w.rest[0].Name, w.left), f.Close())
	}
	if len(w.rest) > 0 {
		return fmt.Errorf("%s was not written", w.rest[0].Name)
	}
	return nil
}
