package pull

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// standing is an archive of the plan that may lie in a directory already.
type standing struct {
	dir string
	*Archive
	files  []file
	newSum func() hash.Hash // nil where no checksums are wanted
	meter  Meter

	sums []string // of the files, after the archive was found to be the one
}

// there says whether files of these names and sizes lie there, and none that would stand
// for the archive beside them.
func (s *standing) there() bool {
	var names []string
	for _, f := range s.files {
		info, err := os.Stat(filepath.Join(s.dir, f.Name))
		if err != nil || info.Size() != f.Size || !info.Mode().IsRegular() {
			return false
		}
		names = append(names, f.Name, sumName(f.Name))
	}
	others, err := replaces(s.dir, s.Name, names)
	return err == nil && len(others) == 0
}

// same says whether what lies there is what would be written: it is read once, to its
// end, and each blob is proven by its digest, everything else by its bytes. Checksums
// are made of the same read. The error is the context's: what cannot be read is written
// anew.
func (s *standing) same(ctx context.Context) (bool, error) {
	if !s.there() {
		return false, nil
	}
	files := &joined{dir: s.dir, rest: s.files, newSum: s.newSum}
	defer files.Close()
	counted := &counted{r: withContext{ctx, files}, meter: s.meter}
	err := holds(bufio.NewReaderSize(counted, 1<<18), s.entries)
	s.meter.Add(s.Size - counted.n) // what need not be read
	if err != nil {
		return false, ctx.Err()
	}
	s.sums = files.sums
	return true, nil
}

// holds reads an archive, which has to be that of the entries to the last byte.
func holds(r io.Reader, all []entry) error {
	for _, e := range all {
		h, err := header(e.name, e.size)
		if err != nil {
			return err
		}
		if err := expect(r, h); err != nil {
			return err
		}
		if err := holdsEntry(r, e); err != nil {
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
		return errors.Join(errOther, err)
	}
	return nil
}

func holdsEntry(r io.Reader, e entry) error {
	if e.blob == "" {
		return expect(r, e.data)
	}
	v := e.blob.Verifier()
	if _, err := io.CopyN(v, r, e.size); err != nil {
		return err
	}
	if !v.Verified() {
		return errOther
	}
	return nil
}

// errOther says that bytes are not those that would be written.
var errOther = errors.New("other bytes")

func expect(r io.Reader, want []byte) error {
	have := make([]byte, len(want))
	if _, err := io.ReadFull(r, have); err != nil {
		return err
	}
	if !bytes.Equal(have, want) {
		return errOther
	}
	return nil
}

// joined reads the files of an archive one behind the other.
type joined struct {
	dir    string
	rest   []file
	newSum func() hash.Hash

	f    *os.File
	sum  hash.Hash
	sums []string // of the files that were read to their end
}

// Read implements io.Reader.
func (j *joined) Read(p []byte) (int, error) {
	for {
		if err := j.open(); err != nil {
			return 0, err
		}
		n, err := j.f.Read(p)
		if j.sum != nil {
			j.sum.Write(p[:n])
		}
		if n > 0 || err != io.EOF {
			return n, err
		}
		if j.sum != nil {
			j.sums = append(j.sums, sumText(j.sum))
		}
		if err := j.Close(); err != nil {
			return 0, err
		}
	}
}

// open opens the next file where none is open; io.EOF where there is none.
func (j *joined) open() (err error) {
	if j.f != nil {
		return nil
	}
	if len(j.rest) == 0 {
		return io.EOF
	}
	if j.newSum != nil {
		j.sum = j.newSum()
	}
	j.f, err = plainfile.Open(filepath.Join(j.dir, j.rest[0].Name))
	j.rest = j.rest[1:]
	return err
}

// Close closes the file that is open.
func (j *joined) Close() error {
	if j.f == nil {
		return nil
	}
	f := j.f
	j.f = nil
	return f.Close()
}

// counted tells what is read.
type counted struct {
	r     io.Reader
	meter Meter
	n     int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.meter.Add(int64(n))
	return n, err
}
