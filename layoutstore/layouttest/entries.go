package layouttest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Entry is an entry of a hand-made archive, valid or not.
type Entry struct {
	tar.Header
	Body []byte
	// Patch overwrites bytes of the last block of the header, by offset; the checksum
	// is updated. It makes headers that archive/tar refuses to write.
	Patch map[int]string
}

// File returns the entry of a plain file.
func File(name string, body []byte) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, Body: body}
}

// Tar writes an archive of entries. If a header's Size is larger than the body, the
// rest is zeros, which take no space on disk. The archive appears by a rename.
func Tar(tb TB, file string, entries ...Entry) {
	tb.Helper()
	temp := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".tmp")
	f, err := os.Create(temp)
	if err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	var end int64
	for i := 0; i < len(entries) && err == nil; i++ {
		if end, err = entries[i].write(f, end); err != nil {
			err = fmt.Errorf("entry %s: %w", entries[i].Name, err)
		}
	}
	err = errors.Join(err, f.Truncate(end+1024), f.Close())
	if err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
}

// write writes the entry at off, and returns where the next one begins.
func (e *Entry) write(f *os.File, off int64) (int64, error) {
	h := e.Header
	h.Size = max(h.Size, int64(len(e.Body)))
	h.Format = cmp.Or(h.Format, tar.FormatGNU)
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(&h); err != nil {
		return 0, err
	}
	if len(e.Patch) > 0 {
		patch(header.Bytes()[header.Len()-512:], e.Patch)
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

func patch(block []byte, patches map[int]string) {
	for at, s := range patches {
		copy(block[at:], s)
	}
	Checksum(block)
}

// Checksum updates the checksum of a changed header block of 512 bytes.
func Checksum(block []byte) {
	copy(block[148:156], "        ")
	var sum int
	for _, b := range block[:512] {
		sum += int(b)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// Place says where an entry is in an archive.
type Place struct {
	Name              string
	Header, Body, End int64 // End is where the next header begins.
	Size              int64 // of the content
}

// Places returns where the entries of a valid archive are.
func Places(tb TB, archive string) (all []Place) {
	tb.Helper()
	f, err := os.Open(archive)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	defer f.Close()
	var next int64
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		var body int64
		if err == nil {
			body, err = f.Seek(0, io.SeekCurrent)
		}
		if err != nil {
			tb.Fatalf("%s: %v", archive, err)
		}
		p := Place{h.Name, next, body, (body + h.Size + 511) &^ 511, h.Size}
		if h.Typeflag == tar.TypeDir {
			p.End = body
		}
		next = p.End
		all = append(all, p)
	}
}
