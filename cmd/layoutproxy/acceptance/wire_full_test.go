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

// wire is a proxy in front of a server. It records requests, and can stop a download halfway.
type wire struct {
	url    string
	server string

	mu      sync.Mutex
	seen    []exchange
	held    digest.Digest // the wire stops the next download of this blob
	half    int64         // number of bytes after which the wire stops the download
	reached chan struct{} // closed when the wire has stopped the download
}

// exchange is a request with the status of the response.
type exchange struct {
	method, path, ranges string
	status               int
}

func newWire(t *testing.T, s server) *wire {
	t.Helper()
	w := &wire{server: "http://" + s.registry}
	listening := httptest.NewServer(w)
	t.Cleanup(func() {
		listening.CloseClientConnections() // a stopped download would block Close
		listening.Close()
	})
	w.url = listening.URL
	return w
}

// host returns the address of the wire, as HOST:PORT.
func (w *wire) host() string { return strings.TrimPrefix(w.url, "http://") }

// hold makes the wire stop the next download of a blob. half is how many bytes pass first. hold
// returns a channel that is closed when the download has stopped.
func (w *wire) hold(d digest.Digest, half int64) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held, w.half, w.reached = d, half, make(chan struct{})
	return w.reached
}

// requests returns the recorded requests whose path ends with suffix.
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
	_, _ = io.CopyN(rw, resp.Body, half) // the test itself checks which bytes arrive
	rw.(http.Flusher).Flush()
	close(reached)
	<-req.Context().Done()
}
