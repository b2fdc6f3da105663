package extent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

type path string

func (p path) Open(context.Context) (*os.File, error) { return os.Open(string(p)) }
func (p path) String() string                         { return string(p) }

func write(t testing.TB, data []byte) path {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path(name)
}

func numbered(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

// io.Copy from a section into a socket must stop at the end of the section.
func TestCopyToSocketStopsAtEndOfSection(t *testing.T) {
	data := numbered(100_000)
	l := List{{File: write(t, data), Off: 1000, Len: 5000}}
	server, client := tcpPair(t)
	r, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		defer server.Close()
		io.Copy(server, r)
	}()
	got, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data[1000:6000]) {
		t.Fatalf("the client received %d bytes, want the 5000 bytes of the section", len(got))
	}
}

// sendfile(2) moves the position of the file. A later read continues from there.
func TestReadContinuesAfterSendfile(t *testing.T) {
	data := numbered(100_000)
	l := List{{File: write(t, data), Off: 1000, Len: 5000}}
	server, client := tcpPair(t)
	r, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		defer server.Close()
		if n, err := server.(*net.TCPConn).ReadFrom(io.LimitReader(r, 4000)); n != 4000 || err != nil {
			t.Errorf("ReadFrom sent %d bytes and returned the error %v, want 4000 and nil", n, err)
		}
	}()
	got, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(got, rest...), data[1000:6000]) {
		t.Fatalf("sendfile sent %d bytes and a later read returned %d; want the 5000 bytes of the section in total", len(got), len(rest))
	}
}

func tcpPair(t *testing.T) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

func TestExtentBeyondEndOfFileIsStale(t *testing.T) {
	f := write(t, numbered(10))
	for _, l := range []List{{{File: f, Off: 5, Len: 6}}, {{File: f, Off: 0, Len: 11}}, {{File: f, Off: 11, Len: 0}}, {{File: f, Off: 11, Len: 1}, {File: f, Off: 0, Len: 1}}} {
		if _, err := l.Open(t.Context()); !errors.Is(err, ErrStale) {
			t.Errorf("Open of %v: got %v, want ErrStale", l, err)
		}
	}
	later := List{{File: f, Off: 0, Len: 5}, {File: f, Off: 8, Len: 5}}
	if _, err := later.ReadAll(t.Context()); !errors.Is(err, ErrStale) {
		t.Errorf("ReadAll of a list whose second extent is too long: got %v, want ErrStale", err)
	}
}

func TestSliceOutsideOfListFails(t *testing.T) {
	l := List{{File: path("x"), Len: 10}}
	for _, c := range [][2]int64{{-1, 1}, {0, -1}, {11, 0}, {0, 11}, {10, 1}, {1, 1<<63 - 1}} {
		if _, err := l.Slice(c[0], c[1]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Slice(%d, %d): got %v, want io.ErrUnexpectedEOF", c[0], c[1], err)
		}
	}
}

// A slice of a list contains the same bytes as the same range of the file. This holds no matter how
// the list is split into extents, and where a reader seeks.
func FuzzList(f *testing.F) {
	f.Add([]byte{10, 20, 30}, uint16(5), uint16(40), uint16(7))
	f.Add([]byte{}, uint16(0), uint16(0), uint16(0))
	f.Add([]byte{1, 0, 255}, uint16(0), uint16(256), uint16(255))
	data := numbered(70_000)
	files := []File{write(f, data), &object{data: data}}
	f.Fuzz(func(t *testing.T, cuts []byte, off, n, seek uint16) {
		if len(cuts) > 64 {
			return
		}
		var l List
		var want []byte
		at := int64(3)
		for _, c := range cuts {
			l = append(l, Extent{File: files[int(c)%2], Off: at, Len: int64(c)})
			want = append(want, data[at:at+int64(c)]...)
			at += int64(c) + 1
		}
		part, err := l.Slice(int64(off), int64(n))
		if outside := int(off)+int(n) > len(want); outside != (err != nil) {
			t.Fatalf("Slice(%d, %d) of a list of %d bytes: got the error %v; want an error: %v", off, n, len(want), err, outside)
		}
		if err != nil {
			return
		}
		want = want[off:][:n]
		r, err := part.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("reading the slice: got %d bytes and the error %v, want %d bytes", len(got), err, len(want))
		}
		if end, err := r.Seek(0, io.SeekEnd); end != int64(n) || err != nil {
			t.Fatalf("Seek to the end: got %d and the error %v, want %d", end, err, n)
		}
		if _, err := r.Seek(int64(seek), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got, err = io.ReadAll(r)
		if rest := want[min(int(seek), len(want)):]; err != nil || !bytes.Equal(got, rest) {
			t.Fatalf("reading after a seek to %d: got %d bytes and the error %v, want %d bytes", seek, len(got), err, len(rest))
		}
		if _, err := r.Seek(-1, io.SeekStart); err == nil {
			t.Fatal("Seek(-1, io.SeekStart): got no error, want one")
		}
	})
}
