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

// Entry is an entry of an archive that a test writes itself. It need not be valid.
type Entry struct {
	tar.Header
	Body []byte
	// Patch overwrites bytes in the last block of the header, and then updates the checksum. The
	// keys are offsets in the block. So Patch can make headers that archive/tar refuses to write.
	Patch map[int]string
}

// File returns an entry for a regular file.
func File(name string, body []byte) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, Body: body}
}

// Tar writes an archive with the given entries. It renames the archive to file when it is complete.
// If the Size of a header is larger than the body, zeros follow the body; they take no space on disk.
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

// write writes the entry at offset off. It returns the offset of the next entry.
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

// Checksum computes the checksum of a header block of 512 bytes, and stores it in the block.
func Checksum(block []byte) {
	copy(block[148:156], "        ")
	var sum int
	for _, b := range block[:512] {
		sum += int(b)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// Place describes where an entry is in an archive.
type Place struct {
	Name string
	// Header, Body and End are the offsets of the header, of the content and of the next header.
	Header, Body, End int64
	// Size is the size of the content in bytes.
	Size int64
}

// Places returns where the entries of a valid archive are.
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
