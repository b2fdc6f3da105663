package layouttest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
)

// Entry is an entry of a hand-made archive, valid or not.
type Entry struct {
	tar.Header
	Body []byte
	// Patch overwrites bytes of the last block of the header, by offset, and updates the
	// checksum. It makes headers that archive/tar refuses to write.
	Patch map[int]string
}

// File returns the entry of a plain file.
func File(name string, body []byte) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, Body: body}
}

// Tar writes an archive of entries, and renames it to file when it is complete. If a
// header's Size is larger than the body, the rest is zeros, which take no space on disk.
func Tar(tb TB, file string, entries ...Entry) {
	tb.Helper()
	Try(tb, replace(file, func(f *os.File) (err error) {
		var end int64
		for _, e := range entries {
			if end, err = e.write(f, end); err != nil {
				return fmt.Errorf("%s: entry %s: %w", file, e.Name, err)
			}
		}
		return f.Truncate(end + 1024)
	}))
}

// write writes the entry at off, and returns the offset of the next one.
func (e *Entry) write(f *os.File, off int64) (int64, error) {
	h := e.Header
	h.Size = max(h.Size, int64(len(e.Body)))
	h.Format = cmp.Or(h.Format, tar.FormatGNU)
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(&h); err != nil {
		return 0, err
	}
	if len(e.Patch) > 0 {
		block := header.Bytes()[header.Len()-512:]
		for at, s := range e.Patch {
			copy(block[at:], s)
		}
		Checksum(block)
	}
	if _, err := f.WriteAt(header.Bytes(), off); err != nil {
		return 0, err
	}
	off += int64(header.Len())
	if _, err := f.WriteAt(e.Body, off); err != nil {
		return 0, err
	}
	return (off + h.Size + 511) &^ 511, nil
}

// Checksum updates the checksum in a header block of 512 bytes.
func Checksum(block []byte) {
	copy(block[148:156], "        ")
	var sum int
	for _, b := range block[:512] {
		sum += int(b)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// Place is the place of an entry in an archive.
type Place struct {
	Name              string
	Header, Body, End int64 // offsets; End is that of the next header
	Size              int64 // of the content, in bytes
}

// Places returns the places of the entries of a valid archive.
func Places(tb TB, archive string) (all []Place) {
	tb.Helper()
	f, err := os.Open(archive)
	Try(tb, err)
	defer f.Close()
	var next int64
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		Try(tb, err)
		body, err := f.Seek(0, io.SeekCurrent)
		Try(tb, err)
		p := Place{h.Name, next, body, (body + h.Size + 511) &^ 511, h.Size}
		if h.Typeflag == tar.TypeDir {
			p.End = body
		}
		next = p.End
		all = append(all, p)
	}
}
