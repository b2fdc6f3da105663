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

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// Present describes the files of an archive that already exist in a directory.
type Present struct {
	dir     string
	archive *Archive
	files   []File
	newSum  func() hash.Hash // creates the hash for checksum files; nil if none are wanted
	count   func(n int64)

	sums []string // content of the checksum files; set by IsSame if checksum files are wanted
}

// Files returns the files with their checksums. Call it after [Present.IsSame].
func (p *Present) Files() []File { return p.files }

// In describes the files of the archive that exist in dir. form says which files these should be.
// [Present.IsSame] calls count with the number of bytes that it reads or skips.
func (a *Archive) In(dir string, form Form, count func(n int64)) *Present {
	p := &Present{dir: dir, archive: a, files: form.Files(a), newSum: form.NewSum, count: count}
	if cut := chunksIn(dir, a.Name, a.Size, form.ChunkSize); cut != nil {
		p.files = cut
	}
	return p
}

// HasFiles reports whether all files exist with the right sizes. It also returns false if the
// directory has additional files of this archive.
func (p *Present) HasFiles() bool {
	var names []string
	for _, f := range p.files {
		info, err := os.Stat(filepath.Join(p.dir, f.Name))
		if err != nil || info.Size() != f.Size || !info.Mode().IsRegular() {
			return false
		}
		names = append(names, f.Name, SumName(f.Name))
	}
	others, err := replacedBy(p.dir, p.archive.Name, names)
	return err == nil && len(others) == 0
}

// IsSame reports whether the files have the bytes that [Archive.Write] would write. It reads them once: it
// verifies the digest of each blob, compares everything else byte by byte, and computes the checksums of the
// files. It returns false if a file cannot be read. Its only error is the context's.
func (p *Present) IsSame(ctx context.Context) (bool, error) {
	if !p.HasFiles() {
		return false, nil
	}
	files := &joined{dir: p.dir, rest: p.files, newSum: p.newSum, count: p.count}
	defer files.Close()
	err := compare(bufio.NewReaderSize(contextReader{ctx, files}, 1<<18), p.archive.entries)
	p.count(p.archive.Size - files.n) // skipped
	if err != nil {
		return false, ctx.Err()
	}
	p.sums, p.files = files.sums, files.done
	return true, nil
}

// compare reads an archive and returns an error unless it consists of exactly these entries.
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

// errDiffers reports that [Archive.Write] would write different bytes.
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

// joined reads the files of an archive one after the other, as one stream.
type joined struct {
	dir    string
	rest   []File // files to read; the first one is being read
	newSum func() hash.Hash
	count  func(n int64) // called after each Read with its number of bytes

	n int64 // total number of bytes read

	f    *os.File
	sum  hash.Hash
	sha  hash.Hash
	sums []string // text of the checksum files, one per file in done

	done []File // files that were read to their end, with their sha256
}

// Read implements io.Reader.
func (j *joined) Read(p []byte) (int, error) {
	for {
		if err := j.open(); err != nil {
			return 0, err
		}
		n, err := j.f.Read(p)
		j.n += int64(n)
		j.count(int64(n))
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
		j.done = append(j.done, File{Name: j.rest[0].Name, Size: j.rest[0].Size, SHA256: sumText(j.sha)})
		j.rest = j.rest[1:]
		if err := j.Close(); err != nil {
			return 0, err
		}
	}
}

// open opens the next file if no file is open. It returns io.EOF if all files were read.
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
