package extent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// eachList calls do with lists of up to three extents of 0 to 2 bytes, and with the bytes of each
// list. The extents are in a file, in an object, or in both in turn.
func eachList(t *testing.T, do func(l List, want []byte)) {
	t.Helper()
	data := numbered(20)
	f := write(t, data)
	o := &object{data: data}
	for _, sources := range [][]File{{f, f, f}, {o, o, o}, {f, o, f}} {
		var grow func(l List, want []byte)
		grow = func(l List, want []byte) {
			do(l, want)
			if len(l) == 3 {
				return
			}
			off := int64(5 * len(l))
			for n := range int64(3) {
				grow(append(l[:len(l):len(l)], Extent{File: sources[len(l)], Off: off, Len: n}), append(want[:len(want):len(want)], data[off:off+n]...))
			}
		}
		grow(nil, nil)
	}
	o.checkClosed(t)
}

// A slice has the bytes between its bounds, in no more extents than it needs. A slice that is not
// within the list is an error.
func TestEverySlice(t *testing.T) {
	eachList(t, func(l List, want []byte) {
		size := int64(len(want))
		for off := int64(-1); off <= size+1; off++ {
			for n := int64(-1); n <= size+1; n++ {
				part, err := l.Slice(off, n)
				if off < 0 || n < 0 || off+n > size {
					if !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Fatalf("%d bytes from %d of %v: %v, %v", n, off, l, part, err)
					}
					continue
				}
				for _, e := range part {
					if e.Len == 0 && n == 0 {
						t.Fatalf("%d bytes from %d of %v: an empty extent in %v", n, off, l, part)
					}
				}
				if got, err := part.ReadAll(t.Context()); err != nil || !bytes.Equal(got, want[off:off+n]) {
					t.Fatalf("%d bytes from %d of %v: %x, %v", n, off, l, got, err)
				}
			}
		}
	})
}

// A part of a complete file is not complete.
func TestSliceOfWholeFile(t *testing.T) {
	l := List{{File: write(t, numbered(4)), Len: 4, Whole: true}}
	for off := range int64(5) {
		for n := range 5 - off {
			part, err := l.Slice(off, n)
			if err != nil {
				t.Fatal(err)
			}
			if len(part) == 1 && part[0].Whole != (n == 4) {
				t.Errorf("%d bytes from %d: %+v", n, off, part[0])
			}
		}
	}
}

// A reader that is opened for a part, or moved to it, reads the same bytes from there as a
// bytes.Reader, both by Read and by section.
func TestSeekEverywhere(t *testing.T) {
	eachList(t, func(l List, want []byte) {
		size := int64(len(want))
		for at := range size + 2 {
			for n := range size + 2 {
				checkSeeks(t, l, want, at, n)
			}
		}
	})
}

// checkSeeks opens a list for n bytes from byte at on, and seeks to every position.
func checkSeeks(t *testing.T, l List, want []byte, at, n int64) {
	t.Helper()
	size := int64(len(want))
	r, err := l.OpenRange(t.Context(), at, n)
	if err != nil {
		t.Fatal(err)
	}
	model := bytes.NewReader(want)
	checkNext(t, l, r, model)
	for _, whence := range []int{io.SeekStart, io.SeekCurrent, io.SeekEnd} {
		for offset := -size - 1; offset <= size+1; offset++ {
			got, err := r.Seek(offset, whence)
			expected, wrong := model.Seek(offset, whence)
			if (err == nil) != (wrong == nil) || err == nil && got != expected {
				t.Fatalf("seek to %d (%d) of %v: %d, %v", offset, whence, l, got, err)
			}
			checkNext(t, l, r, model)
		}
	}
	if _, err := r.Seek(0, 7); err == nil {
		t.Fatalf("seek of an unknown kind in %v", l)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkNext reads one byte from both readers.
func checkNext(t *testing.T, l List, r io.Reader, model *bytes.Reader) {
	t.Helper()
	if n, err := r.Read(nil); n != 0 || err != nil && err != io.EOF {
		t.Fatalf("an empty read of %v: %d, %v", l, n, err)
	}
	var got, want [1]byte
	n, err := r.Read(got[:])
	m, wrong := model.Read(want[:])
	if n != m || !errors.Is(err, wrong) || got != want {
		t.Fatalf("read of %v: %x, %v; want %x, %v", l, got[:n], err, want[:m], wrong)
	}
}

// The sections together are the list, and none is longer than requested.
func TestSectionsCoverList(t *testing.T) {
	eachList(t, func(l List, want []byte) {
		for limit := int64(1); limit <= 3; limit++ {
			r, err := l.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for range len(want) + 1 {
				section, err := r.(Sender).Section(limit)
				if err != nil || section.N > limit || section.N == 0 && len(got) < len(want) {
					t.Fatalf("section of %v after %d bytes: %+v, %v", l, len(got), section, err)
				}
				piece, err := io.ReadAll(section)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, piece...)
			}
			if err := errors.Join(r.(Sender).Check(), r.Close()); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%v: %x, want %x: %v", l, got, want, err)
			}
			if n, err := r.Read(make([]byte, 1)); len(l) != 1 && (n != 0 || !errors.Is(err, io.EOF)) {
				t.Fatalf("a read after the end of %v: %d, %v", l, n, err)
			}
		}
	})
}

// A file that changes while a list is read is reported, however the list is read and wherever the
// file is in it.
func TestChangesWhileReading(t *testing.T) {
	read := func(r io.Reader) error { _, err := io.Copy(io.Discard, struct{ io.Reader }{r}); return err }
	sections := func(r io.Reader) error {
		for {
			section, err := r.(Sender).Section(2)
			if err != nil || section.N == 0 {
				return errors.Join(err, r.(Sender).Check())
			}
			left := section.N
			if n, err := io.Copy(io.Discard, struct{ io.Reader }{section}); err != nil || n < left {
				return errors.Join(err, r.(Sender).Check())
			}
		}
	}
	for name, change := range map[string]func(path) error{
		"cut short":     func(p path) error { return os.Truncate(string(p), 1) },
		"written again": func(p path) error { return os.Chtimes(string(p), time.Time{}, time.Unix(1, 0)) },
		"removed":       func(p path) error { return os.Remove(string(p)) },
	} {
		for changed := range 2 {
			for how, consume := range map[string]func(io.Reader) error{"reads": read, "sections": sections} {
				files := []path{write(t, numbered(4)), write(t, numbered(4))}
				r, err := List{{File: files[0], Len: 4}, {File: files[1], Len: 4}}.Open(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := change(files[changed]); err != nil {
					t.Fatal(err)
				}
				err = consume(r)
				r.Close()
				// The first file is open already and stays readable when it is removed. The second
				// is opened after the change: it is missing, or is read with its new content.
				want := map[string][2]bool{"cut short": {true, true}, "written again": {true, false}, "removed": {false, true}}[name][changed]
				if (err != nil) != want {
					t.Errorf("file %d %s, read by %s: %v", changed, name, how, err)
				}
			}
		}
	}
}

// Files are read into memory up to their limit and no further.
func TestReadFileLimit(t *testing.T) {
	f := write(t, numbered(4))
	for limit, want := range map[int64]error{3: ErrTooLong, 4: nil, 5: nil} {
		if data, err := ReadFile(t.Context(), f, limit); !errors.Is(err, want) || want == nil && !bytes.Equal(data, numbered(4)) {
			t.Errorf("limit %d: %x, %v", limit, data, err)
		}
	}
	if _, err := ReadFile(t.Context(), f+"x", 4); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if data, err := (List{{File: f + "x", Len: 1}}).ReadAll(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %x, %v", data, err)
	}
	if s := (List{{File: path("a")}, {File: path("b")}, {File: path("c")}}).String(); s != "a … c" {
		t.Errorf("%q", s)
	}
}
