package pull

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

type plainFile string

func (f plainFile) Open(context.Context) (*os.File, error) { return os.Open(string(f)) }
func (f plainFile) String() string                         { return string(f) }

type noMeter struct{}

func (noMeter) Add(int64) {}

func newFetcher(t *testing.T) *fetcher {
	t.Helper()
	w, err := openWork(t.TempDir(), "", true, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return &fetcher{work: w, meter: noMeter{}}
}

// If a copied blob is damaged, or copying is interrupted, an earlier partial download is kept.
func TestPartSurvivesDamagedCopy(t *testing.T) {
	f := newFetcher(t)
	data := bytes.Repeat([]byte("layer"), 1000)
	b := closure.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	part := f.work.part(b.Digest)
	write := func(name string, data []byte) {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(part, data[:3000])
	elsewhere := filepath.Join(t.TempDir(), "blob")
	where := extent.List{{File: plainFile(elsewhere), Len: b.Size}}
	write(elsewhere, bytes.Repeat([]byte("wrong"), 1000))
	if good, err := f.copyBlob(t.Context(), where, b); good || err != nil {
		t.Fatalf("copyBlob of a damaged blob = %v, error %v; want false and no error", good, err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if good, err := f.copyBlob(stopped, where, b); good || !errors.Is(err, context.Canceled) {
		t.Fatalf("copyBlob with an ended context = %v, error %v; want false and context.Canceled", good, err)
	}
	if have, err := os.ReadFile(part); err != nil || !bytes.Equal(have, data[:3000]) {
		t.Fatalf("the partial download has %d bytes, error %v; want its 3000 bytes unchanged", len(have), err)
	}
	write(elsewhere, data)
	if good, err := f.copyBlob(t.Context(), where, b); !good || err != nil {
		t.Fatalf("copyBlob of an intact blob = %v, error %v; want true and no error", good, err)
	}
	if left, err := os.ReadDir(filepath.Dir(part)); err != nil || len(left) > 0 {
		t.Errorf("partial downloads after copyBlob: %v, error %v; want none", left, err)
	}
}

// The part of an interrupted download is hashed before the first request. If the context ends, the
// hashing stops.
func TestHashingEndsWithContext(t *testing.T) {
	f := newFetcher(t)
	b := closure.Descriptor{Digest: digest.FromString("layer"), Size: 5}
	if err := os.WriteFile(f.work.part(b.Digest), []byte("laye"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.fetchMissing(ctx, "repository", b, false); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type sumMeter struct{ n int64 }

func (m *sumMeter) Add(n int64) { m.n += n }

// If the first repository does not have a blob, the part of an interrupted download counts only once.
func TestPartCountsOnce(t *testing.T) {
	data := bytes.Repeat([]byte("layer"), 1000)
	b := closure.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch {
		case strings.HasPrefix(q.URL.Path, "/v2/second/"):
			http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data))
		case q.URL.Path != "/v2/":
			http.NotFound(w, q)
		}
	}))
	t.Cleanup(server.Close)
	c, err := client.New(client.Options{Registry: strings.TrimPrefix(server.URL, "http://"), PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	f, meter := newFetcher(t), &sumMeter{}
	f.registry, f.meter = c, meter
	if err := os.WriteFile(f.work.part(b.Digest), data[:3000], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.fetch(t.Context(), b, []string{"first", "second"}); err != nil || meter.n != b.Size {
		t.Errorf("fetch counted %d bytes, error %v; want %d bytes and no error", meter.n, err, b.Size)
	}
}
