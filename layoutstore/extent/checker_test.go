package extent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"
	"time"
)

// indexed is a file that is stale when its modification time has changed.
type indexed struct {
	path
	made *fs.FileInfo
}

func (i indexed) Check(info fs.FileInfo) error {
	if !info.ModTime().Equal((*i.made).ModTime()) {
		return ErrStale
	}
	return nil
}

func (i indexed) OpenCached() (*os.File, fs.FileInfo, error) {
	f, err := i.Open(context.Background())
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	return f, info, err
}

func newIndexed(t *testing.T, n int) indexed {
	t.Helper()
	p := write(t, numbered(n))
	info, err := os.Stat(string(p))
	if err != nil {
		t.Fatal(err)
	}
	return indexed{p, &info}
}

// If a file implements Checker, its reader checks the file after each read. It never returns bytes
// that were written after the extents were made.
func TestEachReadChecksFile(t *testing.T) {
	for _, n := range []int{1, 2} {
		f := newIndexed(t, 8)
		l := List{{File: f, Len: 8, Whole: true}, {File: f, Len: 8, Whole: true}}[:n]
		for name, open := range map[string]func() (io.ReadSeekCloser, error){
			"from disk":   func() (io.ReadSeekCloser, error) { return l.Open(t.Context()) },
			"from memory": func() (io.ReadSeekCloser, error) { return l.OpenCachedAt(t.Context(), 0) },
		} {
			if err := os.Chtimes(string(f.path), time.Time{}, (*f.made).ModTime()); err != nil {
				t.Fatal(err)
			}
			r, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if !r.(Sender).ReadChecks() {
				t.Errorf("list of %d files, opened %s: ReadChecks() = false, want true", n, name)
			}
			first := make([]byte, 4)
			if _, err := io.ReadFull(r, first); err != nil || !bytes.Equal(first, numbered(4)) {
				t.Errorf("list of %d files, opened %s: read %x, error %v; want %x", n, name, first, err, numbered(4))
			}
			if err := r.(Sender).Check(); err != nil {
				t.Errorf("list of %d files, opened %s: Check of unchanged files returned %v, want nil", n, name, err)
			}
			if err := os.Chtimes(string(f.path), time.Time{}, time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if k, err := r.Read(first); k != 0 || !errors.Is(err, ErrStale) {
				t.Errorf("list of %d files, opened %s: Read after a change returned %d bytes and the error %v, want 0 and ErrStale", n, name, k, err)
			}
			if err := r.(Sender).Check(); !errors.Is(err, ErrStale) {
				t.Errorf("list of %d files, opened %s: Check after a change returned %v, want ErrStale", n, name, err)
			}
			r.Close()
		}
	}
}

// A file without Checker is not checked while it is read. A file without Cached cannot be opened from memory.
func TestFileWithoutChecker(t *testing.T) {
	f := write(t, numbered(8))
	for _, l := range []List{{{File: f, Len: 8}}, {{File: newIndexed(t, 8), Len: 8}, {File: f, Len: 8}}} {
		r, err := l.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.(Sender).ReadChecks() {
			t.Errorf("list %v: ReadChecks() = true, want false", l)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if r, err := l[len(l)-1:].OpenCachedAt(t.Context(), 0); !errors.Is(err, errNotCached) {
			t.Errorf("OpenCachedAt of a file without Cached: got %v and the error %v, want errNotCached", r, err)
		}
	}
	missing := indexed{path: f + "x"}
	for _, l := range []List{{{File: missing, Len: 1}}, {{File: missing, Len: 1}, {File: f, Len: 8}}} {
		if r, err := l.OpenCachedAt(t.Context(), 0); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("OpenCachedAt of a missing file: got %v and the error %v, want ErrNotExist", r, err)
		}
		if r, err := l.Open(t.Context()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Open of a missing file: got %v and the error %v, want ErrNotExist", r, err)
		}
	}
}

// If an extent covers a complete file and the file has grown, the file is stale.
func TestGrownFileIsStale(t *testing.T) {
	f := write(t, numbered(9))
	for whole, want := range map[bool]error{true: ErrStale, false: nil} {
		if data, err := (List{{File: f, Len: 8, Whole: whole}}).ReadAll(t.Context()); !errors.Is(err, want) || want == nil && !bytes.Equal(data, numbered(8)) {
			t.Errorf("ReadAll with Whole = %v: got %x and the error %v, want the error %v", whole, data, err, want)
		}
	}
}

// A file that has become shorter than its extent is stale.
func TestTruncatedFileIsStale(t *testing.T) {
	f := cutFile{write(t, numbered(8))}
	for _, l := range []List{{{File: f, Len: 8}}, {{File: f, Len: 8}, {File: f, Len: 8}}} {
		if err := os.WriteFile(string(f.path), numbered(8), 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := l.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(string(f.path), 3); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(struct{ io.Reader }{r})
		if len(got) > 3 || len(l) > 1 && !errors.Is(err, ErrStale) {
			t.Errorf("list of %d extents: got %x and the error %v; want at most 3 bytes, and ErrStale if there are two extents", len(l), got, err)
		}
		r.Close()
	}
}

type cutFile struct{ path }
