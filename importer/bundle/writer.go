package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
)

// Write writes an archive to dir, as one file or as chunks, and syncs each file to disk. It returns
// the files with their checksums. Errors come from open, the context and the file system.
func (a *Archive) Write(ctx context.Context, dir string, form Form, open Open) ([]File, error) {
	w := NewWriter(dir, form.Files(a), form.NewSum, ctx.Err)
	err := writeTar(w, a.entries, open)
	if closed := w.Close(); err == nil {
		err = closed
	}
	return w.Files(), err
}

// Writer distributes a stream of bytes to files, and computes the sha256 of each. It syncs a file
// to disk before it starts the next one. It can write a checksum file beside each file.
type Writer struct {
	dir    string
	rest   []File // files to write; the first one is being written
	newSum func() hash.Hash
	live   func() error // called before each write; an error stops the writer

	f    *os.File
	left int64 // bytes still to write to the open file
	sum  hash.Hash
	sha  hash.Hash
	done []File
}

// Files returns the files that were written to their end, with their checksums.
func (w *Writer) Files() []File { return w.done }

// NewWriter returns a writer that fills the files in a directory, each to exactly its size. If newSum is nil,
// it writes no checksum files. It calls live before each write, and stops at an error.
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
		w.sha.Write(p[done : done+n])
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

func (w *Writer) openNext() error {
	if err := w.live(); err != nil {
		return err
	}
	if w.f != nil {
		return nil
	}
	if len(w.rest) == 0 {
		return fmt.Errorf("%s: the archive has more bytes than planned", w.dir)
	}
	f, err := os.Create(filepath.Join(w.dir, w.rest[0].Name))
	if err != nil {
		return err
	}
	w.f, w.left, w.sha = f, w.rest[0].Size, sha256.New()
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
	w.done = append(w.done, File{Name: name, Size: w.rest[0].Size, SHA256: sumText(w.sha)})
	w.rest = w.rest[1:]
	f := w.f
	w.f = nil
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil || w.sum == nil {
		return err
	}
	return durable.WriteInPlace(filepath.Join(w.dir, SumName(name)), []byte(sumText(w.sum)), 0o666)
}

// Close closes the open file. It fails if fewer bytes were written than planned.
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
