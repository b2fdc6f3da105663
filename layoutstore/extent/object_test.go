package extent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"
)

// object is an object in a bucket, kept in memory. It records the requested ranges.
type object struct {
	data []byte
	// short is how many bytes are missing at the end of each body. gone is the error of each
	// request. wait, if not nil, is what each request waits for.
	short int
	gone  error
	wait  chan struct{}
	began chan struct{} // receives a value when a request begins to wait

	mu sync.Mutex
	// requests contains the requested ranges in the form "off+n".
	requests []string
	// open is the number of bodies that have not been closed.
	open int
}

func (o *object) Open(context.Context) (*os.File, error) { return nil, errors.ErrUnsupported }
func (o *object) String() string                         { return "s3://bucket/object" }

func (o *object) OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if err := o.pause(ctx); err != nil {
		return nil, err
	}
	if o.gone != nil {
		return nil, o.gone
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests = append(o.requests, fmt.Sprintf("%d+%d", off, n))
	o.open++
	return &body{Reader: bytes.NewReader(o.data[off : off+n-int64(o.short)]), object: o, ctx: ctx}, nil
}

func (o *object) pause(ctx context.Context) error {
	if o.wait == nil {
		return nil
	}
	o.began <- struct{}{}
	select {
	case <-o.wait:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type body struct {
	*bytes.Reader
	object *object
	ctx    context.Context
	closed bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.closed {
		return 0, errors.New("a closed body was read")
	}
	if b.ctx.Err() != nil {
		return 0, b.ctx.Err()
	}
	return b.Reader.Read(p)
}

func (b *body) Close() error {
	b.object.mu.Lock()
	defer b.object.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.object.open--
	}
	return nil
}

// checkClosed checks that all bodies have been closed.
func (o *object) checkClosed(t *testing.T) {
	t.Helper()
	if o.open != 0 {
		t.Errorf("%d bodies are still open, want none", o.open)
	}
}

// checkRequests compares the requested ranges with want, and clears the record.
func (o *object) checkRequests(t *testing.T, what string, want ...string) {
	t.Helper()
	if fmt.Sprint(o.requests) != fmt.Sprint(want) {
		t.Errorf("%s: the ranges %v were requested, want %v", what, o.requests, want)
	}
	o.requests = nil
}

// A reader sends one request for each run of bytes that is read without a seek. It requests only
// bytes that the caller asked for.
func TestOneRequestPerRunOfBytes(t *testing.T) {
	o := &object{data: numbered(1000)}
	one := List{{File: o, Off: 100, Len: 500}}
	two := List{{File: o, Off: 0, Len: 100}, {File: o, Off: 500, Len: 300}}
	all := func(r io.ReadSeekCloser, n int64) error {
		got, err := io.ReadAll(struct{ io.Reader }{r})
		if int64(len(got)) != n {
			err = fmt.Errorf("read %d bytes, want %d: %w", len(got), n, err)
		}
		return err
	}
	part := func(off, n int64) func(io.ReadSeekCloser) error {
		return func(r io.ReadSeekCloser) error {
			if _, err := r.Seek(off, io.SeekStart); err != nil {
				return err
			}
			_, err := io.CopyN(io.Discard, struct{ io.Reader }{r}, n)
			return err
		}
	}
	for _, c := range []struct {
		what   string
		list   List
		off, n int64
		read   func(io.ReadSeekCloser) error
		want   []string
	}{
		{"all", one, 0, 500, func(r io.ReadSeekCloser) error { return all(r, 500) }, []string{"100+500"}},
		{"nothing", one, 0, 0, func(io.ReadSeekCloser) error { return nil }, nil},
		{"all, unexpectedly", one, 0, 0, func(r io.ReadSeekCloser) error { return all(r, 500) }, []string{"100+500"}},
		{"a part", one, 50, 20, part(50, 20), []string{"150+20"}},
		{"reading more bytes than announced", one, 50, 20, part(50, 30), []string{"150+20", "170+430"}},
		{"another part", one, 50, 20, part(10, 20), []string{"150+20", "110+60"}},
		{"all of two extents", two, 0, 400, func(r io.ReadSeekCloser) error { return all(r, 400) }, []string{"0+100", "500+300"}},
		{"a part of two extents", two, 90, 20, part(90, 20), []string{"90+10", "500+10"}},
		{"a part of the second extent", two, 150, 20, part(150, 20), []string{"550+20"}},
		{"a seek beyond the end", one, 600, 1, func(r io.ReadSeekCloser) error { _, err := r.Seek(600, 0); return errors.Join(err, all(r, 0)) }, nil},
	} {
		r, err := c.list.OpenRange(t.Context(), c.off, c.n)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.read(r), r.Close()); err != nil {
			t.Errorf("%s: got the error %v, want nil", c.what, err)
		}
		o.checkRequests(t, c.what, c.want...)
	}
	o.checkClosed(t)
}

// http.ServeContent seeks to the end to learn the size. It then sends one request per range that
// the client asks for.
func TestServeContentFromObject(t *testing.T) {
	o := &object{data: numbered(100_000)}
	l := List{{File: o, Off: 1000, Len: 50_000}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r, err := l.OpenRange(req.Context(), 0, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		http.ServeContent(w, req, "", time.Time{}, r)
	}))
	defer server.Close()
	for asked, want := range map[string]struct{ off, n int }{"": {0, 50_000}, "bytes=7-9": {7, 3}, "bytes=-10": {49_990, 10}, "bytes=40000-": {40_000, 10_000}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/octet-stream")
		if asked != "" {
			req.Header.Set("Range", asked)
		}
		answer, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !bytes.Equal(got, o.data[1000+want.off:][:want.n]) {
			t.Errorf("range %q: got %d bytes and the error %v, want %d bytes", asked, len(got), err, want.n)
		}
	}
}

// A body that ends early is an error. It never looks like a complete body.
func TestShortBodiesAreErrors(t *testing.T) {
	for _, short := range []int{1, 10, 100} {
		o := &object{data: numbered(1000), short: short}
		for _, l := range []List{
			{{File: o, Off: 0, Len: 100}},
			{{File: o, Off: 0, Len: 1000, Whole: true}},
			{{File: o, Off: 0, Len: 100}, {File: o, Off: 100, Len: 100}},
			{{File: write(t, numbered(10)), Off: 0, Len: 10}, {File: o, Off: 0, Len: 100}},
		} {
			if data, err := l.ReadAll(t.Context()); !errors.Is(err, ErrStale) {
				t.Errorf("ReadAll of %v with bodies %d bytes too short: got %d of %d bytes and the error %v, want ErrStale", l, short, len(data), l.Size(), err)
			}
			for how, open := range map[string]func() (io.ReadCloser, error){
				"Open":     func() (io.ReadCloser, error) { return l.Open(t.Context()) },
				"OpenOnce": func() (io.ReadCloser, error) { return l.OpenOnce(t.Context()) },
			} {
				r, err := open()
				if err != nil {
					t.Fatal(err)
				}
				n, err := io.Copy(io.Discard, struct{ io.Reader }{r})
				if !errors.Is(err, io.ErrUnexpectedEOF) || n >= l.Size() {
					t.Errorf("%s of %v with bodies %d bytes too short: read %d of %d bytes, error %v; want io.ErrUnexpectedEOF", how, l, short, n, l.Size(), err)
				}
				r.Close()
			}
		}
		o.checkClosed(t)
	}
}

// Opening or reading an object fails if the object has changed or is missing.
func TestChangedObjectsAreStale(t *testing.T) {
	o := &object{data: numbered(100)}
	l := List{{File: o, Off: 0, Len: 50}, {File: o, Off: 50, Len: 50}}
	r, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o.gone = fmt.Errorf("%s: %w", o, ErrStale)
	if n, err := io.Copy(io.Discard, struct{ io.Reader }{r}); n != 50 || !errors.Is(err, ErrStale) {
		t.Errorf("object changed while it was read: got %d bytes and the error %v, want 50 and ErrStale", n, err)
	}
	r.Close()
	for how, open := range map[string]func() (io.ReadCloser, error){
		"Open":                func() (io.ReadCloser, error) { return l[:1].Open(t.Context()) },
		"Open of two extents": func() (io.ReadCloser, error) { return l.Open(t.Context()) },
		"OpenOnce":            func() (io.ReadCloser, error) { return l.OpenOnce(t.Context()) },
	} {
		if _, err := open(); !errors.Is(err, ErrStale) {
			t.Errorf("%s of a changed object: got %v, want ErrStale", how, err)
		}
	}
	o.checkClosed(t)
}

// The context of Open limits the wait for the response, but not the reading. The context of
// OpenOnce limits both.
func TestContextsOfOpenAndOpenOnce(t *testing.T) {
	o := &object{data: numbered(100)}
	for _, l := range []List{{{File: o, Len: 100}}, {{File: o, Len: 50}, {File: o, Off: 50, Len: 50}}} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := l.Open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		once, err := l.OpenOnce(ctx)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if n, err := io.Copy(io.Discard, struct{ io.Reader }{r}); n != 100 || err != nil {
			t.Errorf("Open: after the context has ended, read %d bytes with the error %v, want 100 and none", n, err)
		}
		if n, err := io.Copy(io.Discard, struct{ io.Reader }{once}); n == 100 || !errors.Is(err, context.Canceled) {
			t.Errorf("OpenOnce: after the context has ended, read %d bytes with the error %v, want Canceled", n, err)
		}
		r.Close()
		once.Close()
	}
	o.checkClosed(t)
}

func TestCancelWaitingRequests(t *testing.T) {
	o := &object{data: numbered(100), wait: make(chan struct{}), began: make(chan struct{})}
	cause := errors.New("the caller has left")
	for _, l := range []List{{{File: o, Len: 100}}, {{File: o, Len: 50}, {File: o, Off: 50, Len: 50}}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { <-o.began; cancel(cause) }()
		if _, err := l.Open(ctx); !errors.Is(err, cause) {
			t.Errorf("Open of %v: got the error %v, want the cause of the context", l, err)
		}
		r, err := l.OpenRange(t.Context(), 0, 0) // this sends no request yet
		if err != nil {
			t.Fatal(err)
		}
		go func() { <-o.began; r.Close() }()
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("Close during a read of %v: the read returned the error %v, want Canceled", l, err)
		}
	}
	o.checkClosed(t)
}
