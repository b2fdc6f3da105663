//go:build full

package acceptance

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// wire is a proxy between a client and a server that records all requests. It can hold a
// download in the middle of a blob.
type wire struct {
	url    string
	server string

	mu      sync.Mutex
	seen    []exchange
	held    digest.Digest // the blob whose next download is held
	half    int64         // after how many bytes
	reached chan struct{} // closed when the download is held
}

// exchange is a request and the status of its answer.
type exchange struct {
	method, path, ranges string
	status               int
}

func newWire(t *testing.T, s server) *wire {
	t.Helper()
	w := &wire{server: "http://" + s.registry}
	listening := httptest.NewServer(w)
	t.Cleanup(func() {
		listening.CloseClientConnections() // a download may be held
		listening.Close()
	})
	w.url = listening.URL
	return w
}

// host returns the address of the wire.
func (w *wire) host() string { return strings.TrimPrefix(w.url, "http://") }

// hold holds the next download of a blob after half bytes. It returns a channel that is closed
// when the download is held.
func (w *wire) hold(d digest.Digest, half int64) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held, w.half, w.reached = d, half, make(chan struct{})
	return w.reached
}

// requests returns the requests whose path has a suffix.
func (w *wire) requests(suffix string) (found []exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.seen {
		if strings.HasSuffix(a.path, suffix) {
			found = append(found, a)
		}
	}
	return found
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	out, err := http.NewRequestWithContext(req.Context(), req.Method, w.server+req.URL.RequestURI(), nil)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	out.Header = req.Header
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		return // the client has disconnected
	}
	defer resp.Body.Close()
	w.mu.Lock()
	w.seen = append(w.seen, exchange{req.Method, req.URL.Path, req.Header.Get("Range"), resp.StatusCode})
	reached, half := w.reached, w.half
	stop := w.held != "" && req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, string(w.held))
	if stop {
		w.held = ""
	}
	w.mu.Unlock()
	for name, values := range resp.Header {
		rw.Header()[name] = values
	}
	rw.WriteHeader(resp.StatusCode)
	if !stop {
		io.Copy(rw, resp.Body)
		return
	}
	_, _ = io.CopyN(rw, resp.Body, half) // the test checks the bytes that arrive
	rw.(http.Flusher).Flush()
	close(reached)
	<-req.Context().Done()
}
