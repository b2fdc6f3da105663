package observe_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/layoutproxy/layoutproxy/registry/observe"
)

// fileWriter is a ResponseWriter that does as little as possible. It has ReadFrom, like the
// ResponseWriter of HTTP/1.
type fileWriter struct{ header http.Header }

func (w fileWriter) Header() http.Header                   { return w.header }
func (w fileWriter) Write(p []byte) (int, error)           { return len(p), nil }
func (w fileWriter) WriteHeader(int)                       {}
func (w fileWriter) Flush()                                {}
func (w fileWriter) ReadFrom(src io.Reader) (int64, error) { return src.(*io.LimitedReader).N, nil }

// BenchmarkObserve measures what it costs to count a request. The handler for manifests calls
// Write; the handler for blobs sends a file with ReadFrom.
func BenchmarkObserve(b *testing.B) {
	body := make([]byte, 700)
	for name, answer := range map[string]http.HandlerFunc{
		"manifests": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) },
		"blobs": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.(io.ReaderFrom).ReadFrom(&io.LimitedReader{R: strings.NewReader(""), N: 1 << 20})
		},
	} {
		b.Run(name, func(b *testing.B) {
			h, err := observe.New(answer, observe.Options{Route: func(*http.Request) string { return name }, Registerer: prometheus.NewRegistry()})
			if err != nil {
				b.Fatal(err)
			}
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			w := fileWriter{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, req)
			}
		})
	}
}
