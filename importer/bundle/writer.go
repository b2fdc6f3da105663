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

// Write writes an archive to files of a form in a directory, each on disk (fsync) when it
// returns. Errors: those of open, the context's, the file system's.
func (a *Archive) Write(ctx context.Context, dir string, form Form, open Open) error {
	w := NewWriter(dir, form.Files(a), form.NewSum, ctx.Err)
	err := writeTar(w, a.entries, open)
	if closed := w.Close(); err == nil {
		err = closed
	}
	return err
}

// Writer writes bytes to files, one after the other: each on disk (fsync) before the next
// is begun, and with a checksum file beside it if that is wanted.
type Writer struct {
	dir    string
	rest   []File // the first of them is being written
	newSum func() hash.Hash
	live   func() error // why to stop

	f    *os.File
	left int64 // of the file that is open
	sum  hash.Hash
}

// NewWriter returns a writer to files in a directory, of exactly their sizes. newSum may be
// nil. An error of live ends the writing.
func NewWriter(dir string, files []File, newSum func() hash.Hash, live func() error) *Writer {
	return &Writer{dir: dir, rest: files, newSum: newSum, live: live}
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	done := 0
	for len(p) > done {
		if err := w.ready(); err != nil {
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
		if err := w.wrote(int64(n)); err != nil {
			return done, err
		}
	}
	return done, nil
}

// maxCopied is how much is copied at once: between two of it the writing can be stopped.
const maxCopied = 64 << 20

// ReadFrom implements io.ReaderFrom: without checksums, files are copied by the kernel.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	if w.newSum != nil {
		return io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, 1<<20))
	}
	var done int64
	for {
		if err := w.ready(); err != nil {
			return done, err
		}
		limit := min(w.left, maxCopied)
		n, err := w.f.ReadFrom(io.LimitReader(r, limit))
		done += n
		if werr := w.wrote(n); err == nil {
			err = werr
		}
		if err != nil || n < limit {
			return done, err
		}
	}
}

// ready opens the next file where none is open.
func (w *Writer) ready() error {
	if err := w.live(); err != nil {
		return err
	}
	if w.f != nil {
		return nil
	}
	if len(w.rest) == 0 {
		return fmt.Errorf("%s: more bytes than were planned", w.dir)
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

// wrote counts n bytes, and ends the file that is full by them.
func (w *Writer) wrote(n int64) error {
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

// Close closes what is open. It fails where less was written than planned.
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
