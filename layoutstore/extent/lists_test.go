package extent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// eachList calls do with each list of up to three extents of 0 to 2 bytes, and with the bytes of
// the list. The extents are in a file, in an object, or alternate between both.
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

// Slice returns the bytes between its bounds, without empty extents. It fails if the bounds are
// outside of the list.
func TestEverySliceOfList(t *testing.T) {
	eachList(t, func(l List, want []byte) {
		size := int64(len(want))
		for off := int64(-1); off <= size+1; off++ {
			for n := int64(-1); n <= size+1; n++ {
				part, err := l.Slice(off, n)
				if off < 0 || n < 0 || off+n > size {
					if !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Fatalf("slice of %d bytes from offset %d of %v: got %v and the error %v, want an unexpected EOF", n, off, l, part, err)
					}
					continue
				}
				for _, e := range part {
					if e.Len == 0 && n == 0 {
						t.Fatalf("slice of %d bytes from offset %d of %v: got %v, want no empty extent", n, off, l, part)
					}
				}
				if got, err := part.ReadAll(t.Context()); err != nil || !bytes.Equal(got, want[off:off+n]) {
					t.Fatalf("slice of %d bytes from offset %d of %v: read %x, error %v; want %x", n, off, l, got, err, want[off:off+n])
				}
			}
		}
	})
}

// If an extent covers a complete file, a shorter slice of the extent does not.
func TestShorterSliceIsNotWholeFile(t *testing.T) {
	l := List{{File: write(t, numbered(4)), Len: 4, Whole: true}}
	for off := range int64(5) {
		for n := range 5 - off {
			part, err := l.Slice(off, n)
			if err != nil {
				t.Fatal(err)
			}
			if len(part) == 1 && part[0].Whole != (n == 4) {
				t.Errorf("slice of %d bytes from offset %d: got %+v, want Whole = %v", n, off, part[0], n == 4)
			}
		}
	}
}

// After a seek, a reader returns the same bytes as a bytes.Reader, whatever the offset for which
// the list was opened.
func TestSeekToEveryPosition(t *testing.T) {
	eachList(t, func(l List, want []byte) {
		size := int64(len(want))
		for at := range size + 2 {
			for n := range size + 2 {
				checkSeeks(t, l, want, at, n)
			}
		}
	})
}

// checkSeeks opens a list for n bytes from offset at, and seeks to every position.
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
				t.Fatalf("Seek(%d, %d) in %v: got %d and the error %v, want %d and %v", offset, whence, l, got, err, expected, wrong)
			}
			checkNext(t, l, r, model)
		}
	}
	if _, err := r.Seek(0, 7); err == nil {
		t.Fatalf("Seek(0, 7) in %v: got no error, want one", l)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkNext checks that both readers return the same next byte.
func checkNext(t *testing.T, l List, r io.Reader, model *bytes.Reader) {
	t.Helper()
	if n, err := r.Read(nil); n != 0 || err != nil && err != io.EOF {
		t.Fatalf("Read(nil) from %v: got %d and the error %v; want 0, and nil or io.EOF", l, n, err)
	}
	var got, want [1]byte
	n, err := r.Read(got[:])
	m, wrong := model.Read(want[:])
	if n != m || !errors.Is(err, wrong) || got != want {
		t.Fatalf("read from %v: got %x and the error %v, want %x and %v", l, got[:n], err, want[:m], wrong)
	}
}

// All sections of a list together contain its bytes, and none is longer than requested.
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
					t.Fatalf("section of %v after %d bytes: got %+v and the error %v; want up to %d bytes, and 0 only at the end", l, len(got), section, err, limit)
				}
				piece, err := io.ReadAll(section)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, piece...)
			}
			if err := errors.Join(r.(Sender).Check(), r.Close()); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("sections of %v: got %x, want %x; error %v", l, got, want, err)
			}
			if n, err := r.Read(make([]byte, 1)); len(l) != 1 && (n != 0 || !errors.Is(err, io.EOF)) {
				t.Fatalf("Read after the end of %v: got %d bytes and the error %v, want 0 and io.EOF", l, n, err)
			}
		}
	})
}

// A reader reports a change of the file that it has open, and a later file that is missing or too
// short. It does so for reads and for sections.
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
				// The first file is already open, so it stays readable even if it is removed. The second
				// file is opened after the change: it is missing, or it is read with its new content.
				want := map[string][2]bool{"cut short": {true, true}, "written again": {true, false}, "removed": {false, true}}[name][changed]
				if (err != nil) != want {
					t.Errorf("file %d was %s and read with %s: got the error %v; want an error: %v", changed, name, how, err, want)
				}
			}
		}
	}
}

// ReadFile fails if a file is longer than the limit.
func TestReadFileLimit(t *testing.T) {
	f := write(t, numbered(4))
	for limit, want := range map[int64]error{3: ErrTooLong, 4: nil, 5: nil} {
		if data, err := ReadFile(t.Context(), f, limit); !errors.Is(err, want) || want == nil && !bytes.Equal(data, numbered(4)) {
			t.Errorf("ReadFile of 4 bytes with the limit %d: got %x and the error %v, want the error %v", limit, data, err, want)
		}
	}
	if _, err := ReadFile(t.Context(), f+"x", 4); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ReadFile of a missing file: got %v, want ErrNotExist", err)
	}
	if data, err := (List{{File: f + "x", Len: 1}}).ReadAll(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ReadAll of a missing file: got %x and the error %v, want ErrNotExist", data, err)
	}
	if s := (List{{File: path("a")}, {File: path("b")}, {File: path("c")}}).String(); s != "a … c" {
		t.Errorf("String of three extents = %q, want a … c", s)
	}
}
