package daemon

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// The server sends spans only with --trace-endpoint, and only to that collector. Without the flag,
// it ignores OTEL_EXPORTER_OTLP_ENDPOINT.
func TestTracesAreOffWithoutFlag(t *testing.T) {
	var mu sync.Mutex
	var got strings.Builder
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got.WriteString(req.URL.Path + " ")
		io.Copy(&got, req.Body)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	l.Tag(l.Image(layouttest.Image{Name: "one"}), "v1")
	l.Write()
	for name, test := range map[string]struct {
		endpoint string
		sent     bool
	}{"off": {"", false}, "url": {collector.URL, true}, "env": {"env", true}} {
		got.Reset()
		t.Run(name, func(t *testing.T) {
			address, _ := inProcess(t, "--trace-endpoint", test.endpoint, tree.Dir())
			if code := registrytest.StatusOf("http://" + address + "/v2/app/manifests/v1"); code != http.StatusOK {
				t.Errorf("%s: got status %d, want 200", name, code)
			}
		}) // When the server ends, it sends the remaining spans.
		mu.Lock()
		for _, word := range []string{"/v1/traces ", "GET manifest", "layoutproxy.repository", "app"} {
			if strings.Contains(got.String(), word) != test.sent {
				t.Errorf("%s: the collector got %q, want %q in it: %t", name, got.String(), word, test.sent)
			}
		}
		mu.Unlock()
	}
}
