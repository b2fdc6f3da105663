package registry_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

const benchBlob = 16 << 20

// benched serves an image that has one large layer and hundreds of tags.
type benched struct {
	*server
	manifest int // bytes
	blob     string
}

// benchForms are the forms in which the benchmarks store the bundle.
var benchForms = []string{"tree", "tar", "chunks"}

func newBenched(b *testing.B, form string) *benched {
	b.Helper()
	tree := layouttest.New(b, b.TempDir())
	l := tree.Layout("app")
	d := l.Image(layouttest.Image{Name: "bench", LayerSizes: []int64{benchBlob}})
	for i := range 405 {
		l.Tag(d, fmt.Sprintf("v1.%d.%d", i/20, i%20))
	}
	l.Write()
	dir := tree.Dir()
	if form != "tree" {
		dir = b.TempDir()
		archive := filepath.Join(dir, "app.tar")
		tree.Archive(archive, layouttest.Archive{})
		if form == "chunks" {
			layouttest.Split(b, archive, 1<<20)
		}
	}
	s := &benched{server: serveBare(b, dir), manifest: int(d.Size)}
	s.blob = "/v2/app/blobs/" + layerOf(b, l, d.Digest).String()
	// The first request reads the manifests, so it is not measured.
	s.head(s.blob).wantStatus(b, http.StatusOK)
	return s
}

// loop requests path over one keep-alive connection, and checks the size of each answer.
func (s *benched) loop(b *testing.B, path, ranges string, status, size int) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	if ranges != "" {
		req.Header.Set("Range", ranges)
	}
	b.SetBytes(int64(size))
	for b.Loop() {
		resp, err := s.client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != status || n != int64(size) {
			b.Fatalf("got status %d, %d bytes and the error %v; want status %d and %d bytes", resp.StatusCode, n, err, status, size)
		}
	}
}

// discard is a ResponseWriter that does as little as possible.
type discard struct {
	header http.Header
	n      int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { d.n += len(p); return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// sink is a discard with ReadFrom, like the ResponseWriter of a connection without TLS.
type sink struct{ discard }

func (s *sink) Flush() {}

func (s *sink) ReadFrom(src io.Reader) (int64, error) {
	part := src.(*io.LimitedReader)
	n := part.N
	part.N = 0
	s.n += int(n)
	return n, nil
}

// BenchmarkBlobHandler measures the handler for a blob and for a range. It sends nothing.
func BenchmarkBlobHandler(b *testing.B) {
	for _, form := range benchForms {
		s := newBenched(b, form)
		for _, c := range []struct {
			name, ranges string
			size         int
		}{{"all", "", benchBlob}, {"range", "bytes=1048576-2097151", 1 << 20}} {
			b.Run(form+"/"+c.name, func(b *testing.B) {
				req := httptest.NewRequest(http.MethodGet, s.blob, nil)
				if c.ranges != "" {
					req.Header.Set("Range", c.ranges)
				}
				w := &sink{discard{header: http.Header{}}}
				b.ReportAllocs()
				for b.Loop() {
					clear(w.header)
					w.n = 0
					s.handler.ServeHTTP(w, req)
					if w.n != c.size {
						b.Fatalf("got %d bytes, want %d", w.n, c.size)
					}
				}
			})
		}
	}
}

func (s *benched) direct(b *testing.B, path string, size int) {
	b.Helper()
	req := httptest.NewRequest(http.MethodGet, path, nil)
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		w.n = 0
		s.handler.ServeHTTP(w, req)
		if w.n != size {
			b.Fatalf("got %d bytes, want %d", w.n, size)
		}
	}
}

func BenchmarkManifestGET(b *testing.B) {
	const path = "/v2/app/manifests/v1.7.0"
	for _, form := range benchForms {
		s := newBenched(b, form)
		b.Run(form+"/loopback", func(b *testing.B) { s.loop(b, path, "", http.StatusOK, s.manifest) })
		b.Run(form+"/handler", func(b *testing.B) { s.direct(b, path, s.manifest) })
	}
}

func BenchmarkTagList(b *testing.B) {
	s := newBenched(b, "tree")
	const path = "/v2/app/tags/list"
	size := len(s.get(path).body)
	b.Run("loopback", func(b *testing.B) { s.loop(b, path, "", http.StatusOK, size) })
	b.Run("handler", func(b *testing.B) { s.direct(b, path, size) })
	page := len(s.get(path + "?n=100").body)
	b.Run("page", func(b *testing.B) { s.direct(b, path+"?n=100", page) })
}

func BenchmarkBlobGET(b *testing.B) {
	for _, form := range benchForms {
		s := newBenched(b, form)
		b.Run(form, func(b *testing.B) { s.loop(b, s.blob, "", http.StatusOK, benchBlob) })
	}
}

// BenchmarkBlobRange requests 1 MiB that spans two chunks.
func BenchmarkBlobRange(b *testing.B) {
	for _, form := range benchForms {
		s := newBenched(b, form)
		b.Run(form, func(b *testing.B) {
			s.loop(b, s.blob, fmt.Sprintf("bytes=%d-%d", 5<<20, 6<<20-1), http.StatusPartialContent, 1<<20)
		})
	}
}
