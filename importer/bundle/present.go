package bundle

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// Present is an archive as a directory has it.
type Present struct {
	dir     string
	archive *Archive
	files   []File
	newSum  func() hash.Hash // nil if no checksums are wanted
	count   func(n int64)

	sums []string // of the files, after the archive was found to be the same
	shas []string
}

// Files returns the files with their checksums. Call it after [Present.IsSame].
func (p *Present) Files() []File {
	all := slices.Clone(p.files)
	for i, sha := range p.shas {
		all[i].SHA256 = sha
	}
	return all
}

// In returns the part of the archive that dir already holds in the given form. It calls
// count with the number of bytes that it has read or skipped.
func (a *Archive) In(dir string, form Form, count func(n int64)) *Present {
	p := &Present{dir: dir, archive: a, files: form.Files(a), newSum: form.NewSum, count: count}
	if cut := chunksIn(dir, a.Name, a.Size, form.ChunkSize); cut != nil {
		p.files = cut
	}
	return p
}

// HasFiles reports whether the files have the right names and sizes, and no other files of this
// archive exist beside them.
func (p *Present) HasFiles() bool {
	var names []string
	for _, f := range p.files {
		info, err := os.Stat(filepath.Join(p.dir, f.Name))
		if err != nil || info.Size() != f.Size || !info.Mode().IsRegular() {
			return false
		}
		names = append(names, f.Name, sumName(f.Name))
	}
	others, err := replacedBy(p.dir, p.archive.Name, names)
	return err == nil && len(others) == 0
}

// IsSame reports whether the files are what would be written. It reads them once: each blob is
// compared by its digest, everything else by its bytes. Checksums are computed meanwhile. It
// returns false if a file cannot be read; the error is the context's.
func (p *Present) IsSame(ctx context.Context) (bool, error) {
	if !p.HasFiles() {
		return false, nil
	}
	files := &joined{dir: p.dir, rest: p.files, newSum: p.newSum}
	defer files.Close()
	counted := &counted{r: contextReader{ctx, files}, count: p.count}
	err := compare(bufio.NewReaderSize(counted, 1<<18), p.archive.entries)
	p.count(p.archive.Size - counted.n) // skipped
	if err != nil {
		return false, ctx.Err()
	}
	p.sums, p.shas = files.sums, files.shas
	return true, nil
}

// compare reads an archive and fails unless it consists of exactly the entries.
func compare(r io.Reader, all []entry) error {
	for _, e := range all {
		h, err := tarHeader(e.name, e.size)
		if err != nil {
			return err
		}
		if err := expect(r, h); err != nil {
			return err
		}
		if err := compareEntry(r, e); err != nil {
			return err
		}
		if err := expect(r, make([]byte, padding(e.size))); err != nil {
			return err
		}
	}
	if err := expect(r, make([]byte, tarEnd)); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, r); n != 0 || err != nil {
		return errors.Join(errDiffers, err)
	}
	return nil
}

func compareEntry(r io.Reader, e entry) error {
	if e.blob == "" {
		return expect(r, e.data)
	}
	v := e.blob.Verifier()
	if _, err := io.CopyN(v, r, e.size); err != nil {
		return err
	}
	if !v.Verified() {
		return errDiffers
	}
	return nil
}

// errDiffers reports bytes that differ from those that would be written.
var errDiffers = errors.New("other bytes")

func expect(r io.Reader, want []byte) error {
	have := make([]byte, len(want))
	if _, err := io.ReadFull(r, have); err != nil {
		return err
	}
	if !bytes.Equal(have, want) {
		return errDiffers
	}
	return nil
}

// joined reads the files of an archive in sequence.
type joined struct {
	dir    string
	rest   []File
	newSum func() hash.Hash

	f    *os.File
	sum  hash.Hash
	sha  hash.Hash
	sums []string // of the files that were read to their end
	shas []string
}

// Read implements io.Reader.
func (j *joined) Read(p []byte) (int, error) {
	for {
		if err := j.open(); err != nil {
			return 0, err
		}
		n, err := j.f.Read(p)
		j.sha.Write(p[:n])
		if j.sum != nil {
			j.sum.Write(p[:n])
		}
		if n > 0 || err != io.EOF {
			return n, err
		}
		if j.sum != nil {
			j.sums = append(j.sums, sumText(j.sum))
		}
		j.shas = append(j.shas, sumText(j.sha))
		if err := j.Close(); err != nil {
			return 0, err
		}
	}
}

// open opens the next file if no file is open. It returns io.EOF after the last one.
func (j *joined) open() (err error) {
	if j.f != nil {
		return nil
	}
	if len(j.rest) == 0 {
		return io.EOF
	}
	j.sha = sha256.New()
	if j.newSum != nil {
		j.sum = j.newSum()
	}
	j.f, err = plainfile.Open(filepath.Join(j.dir, j.rest[0].Name))
	j.rest = j.rest[1:]
	return err
}

// Close closes the open file.
func (j *joined) Close() error {
	if j.f == nil {
		return nil
	}
	f := j.f
	j.f = nil
	return f.Close()
}

// counted counts the bytes that are read.
type counted struct {
	r     io.Reader
	count func(n int64)
	n     int64
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.count(int64(n))
	return n, err
}
