package client_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

func TestBlobReads(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r)
	b := noise(100_000, 1)
	upload(t, c, b.upload("x"), b)
	if n, err := c.HeadBlob(t.Context(), "x", b.digest); err != nil || n != 100_000 {
		t.Errorf("HeadBlob = %d, error %v; want 100000 and no error", n, err)
	}
	for _, offset := range []int64{0, 1, 50_000, 99_999, 100_000} {
		if got := read(t, c, "x", b, offset); !bytes.Equal(got, b.data[offset:]) {
			t.Errorf("read from offset %d: got wrong content of %d bytes, want the last %d bytes of the blob", offset, len(got), len(b.data)-int(offset))
		}
	}
	absent := noise(10, 9)
	_, err := c.HeadBlob(t.Context(), "x", absent.digest)
	wantCause(t, err, client.ErrNotFound)
	_, err = c.Blob(t.Context(), "x", absent.digest, 10, 0)
	wantCause(t, err, client.ErrNotFound)
}

func TestBlobResumes(t *testing.T) {
	for name, withRanges := range map[string]bool{"with ranges": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.New(t, registrytest.Options{})
			c := dial(t, r)
			b := noise(1_000_000, 1)
			upload(t, c, b.upload("x"), b)
			get := registrytest.On("GET blobs")
			r.Inject(registrytest.Truncate(registrytest.First(3, get), 300_000))
			if !withRanges {
				r.Inject(func(_ http.ResponseWriter, req *http.Request, _ http.Handler) bool {
					req.Header.Del("Range")
					return false
				})
				r.Inject(registrytest.Truncate(registrytest.First(1, get), 900_000))
			}
			before := c.Stats().Received
			wantBlob(t, c, "x", b)
			got := c.Stats().Received - before
			if withRanges && got != 1_000_000 {
				t.Errorf("the client received %d bytes, want 1000000, the size of the blob", got)
			}
		})
	}
}

func TestWrongBlobSizes(t *testing.T) {
	b := noise(1000, 1)
	for name, handler := range map[string]http.HandlerFunc{
		"shorter": func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "short") },
		"longer":  func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 2000)) },
		"longer, chunked": func(w http.ResponseWriter, r *http.Request) {
			w.Write(make([]byte, 900))
			_ = http.NewResponseController(w).Flush()
			w.Write(make([]byte, 900))
		},
		"another range": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-999/1000")
			w.WriteHeader(http.StatusPartialContent)
			w.Write(make([]byte, 1000))
		},
		"a range of the wrong size": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 10-1999/2000")
			w.WriteHeader(http.StatusPartialContent)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, registrytest.New(t, registrytest.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v2/" {
					handler(w, r)
				}
			})}), func(o *client.Options) { o.Retries = 1 })
			body, err := c.Blob(t.Context(), "x", b.digest, 1000, 10)
			if err == nil {
				_, err = io.ReadAll(body)
				body.Close()
			}
			wantCause(t, err, client.ErrMismatch)
		})
	}
}

func TestReaderOccupiesLimiterSlot(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r, func(o *client.Options) { o.Jobs = 1 })
	b := noise(100_000, 1)
	upload(t, c, b.upload("x"), b)
	first, err := c.Blob(t.Context(), "x", b.digest, 100_000, 0)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	go func() {
		_, err := c.HeadBlob(t.Context(), "x", b.digest)
		second <- err
	}()
	if _, err := io.Copy(io.Discard, first); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-second:
		t.Fatalf("HeadBlob returned while the reader was open (error %v), want it to wait for a slot of the limiter", err)
	default:
	}
	first.Close()
	if err := <-second; err != nil {
		t.Fatal(err)
	}
}
