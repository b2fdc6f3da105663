package observe_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/layoutproxy/layoutproxy/registry/observe"
)

func serve(t *testing.T, h http.HandlerFunc, log *zap.Logger) (*httptest.Server, *prometheus.Registry) {
	t.Helper()
	metrics := prometheus.NewRegistry()
	wrapped, err := observe.New(h, observe.Options{
		Route:      func(r *http.Request) string { return strings.Trim(r.URL.Path, "/") },
		Registerer: metrics,
		AccessLog:  log,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(wrapped)
	t.Cleanup(s.Close)
	return s, metrics
}

func ask(t *testing.T, method, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	io.Copy(io.Discard, resp.Body)
	return resp
}

func answers(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/written":
		io.WriteString(w, "12345")
	case "/missing":
		w.WriteHeader(http.StatusNotFound)
	case "/copied":
		if _, ok := w.(io.ReaderFrom); !ok {
			http.Error(w, "no ReadFrom", http.StatusInternalServerError)
			return
		}
		io.Copy(w, io.LimitReader(strings.NewReader("1234567"), 7))
	}
}

func TestRequestsAreCounted(t *testing.T) {
	s, metrics := serve(t, answers, nil)
	for range 3 {
		ask(t, "GET", s.URL+"/written")
	}
	ask(t, "HEAD", s.URL+"/missing")
	ask(t, "BREW", s.URL+"/silent")
	if resp := ask(t, "GET", s.URL+"/copied"); resp.StatusCode != http.StatusOK {
		t.Error("the wrapped response has no ReadFrom, want it for sendfile")
	}
	s.Close() // this waits until all requests are complete and counted
	want := `
# HELP layoutproxy_http_requests_in_flight Requests in progress.
# TYPE layoutproxy_http_requests_in_flight gauge
layoutproxy_http_requests_in_flight 0
# HELP layoutproxy_http_requests_total Requests answered, by route, method and status code.
# TYPE layoutproxy_http_requests_total counter
layoutproxy_http_requests_total{code="200",method="GET",route="copied"} 1
layoutproxy_http_requests_total{code="200",method="GET",route="written"} 3
layoutproxy_http_requests_total{code="200",method="other",route="silent"} 1
layoutproxy_http_requests_total{code="404",method="HEAD",route="missing"} 1
# HELP layoutproxy_http_response_bytes_total Bytes of response bodies sent, by route.
# TYPE layoutproxy_http_response_bytes_total counter
layoutproxy_http_response_bytes_total{route="copied"} 7
layoutproxy_http_response_bytes_total{route="missing"} 0
layoutproxy_http_response_bytes_total{route="silent"} 0
layoutproxy_http_response_bytes_total{route="written"} 15
`
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "layoutproxy_http_requests_in_flight",
		"layoutproxy_http_requests_total", "layoutproxy_http_response_bytes_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(metrics, "layoutproxy_http_request_duration_seconds"); n != 4 || err != nil {
		t.Errorf("the histogram has %d series, want 4 (error %v)", n, err)
	}
}

func TestAccessLog(t *testing.T) {
	core, lines := observer.New(zap.InfoLevel)
	s, _ := serve(t, answers, zap.New(core))
	resp := ask(t, "GET", s.URL+"/written?ns=registry.example")
	other := ask(t, "GET", s.URL+"/missing")
	s.Close()
	id := resp.Header.Get("X-Request-Id")
	if id == "" || id == other.Header.Get("X-Request-Id") {
		t.Errorf("two requests have the ids %q and %q, want two different ones", id, other.Header.Get("X-Request-Id"))
	}
	if lines.Len() != 2 {
		t.Fatalf("the access log has %d lines, want 2", lines.Len())
	}
	got := lines.FilterField(zap.String("id", id)).All()[0].ContextMap()
	for _, key := range []string{"client", "took", "agent"} {
		if got[key] == "" || got[key] == nil {
			t.Errorf("the line in the access log has no value for %s, want one", key)
		}
		delete(got, key)
	}
	want := map[string]any{"id": id, "method": "GET", "path": "/written?ns=registry.example", "protocol": "HTTP/1.1",
		"status": int64(200), "bytes": int64(5), "range": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCutConnectionsAreCounted(t *testing.T) {
	s, metrics := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil)
	if resp, err := http.Get(s.URL + "/cut"); err == nil {
		resp.Body.Close()
		t.Error("the client got an answer, want a cut connection")
	}
	s.Close()
	want := `
# HELP layoutproxy_http_requests_in_flight Requests in progress.
# TYPE layoutproxy_http_requests_in_flight gauge
layoutproxy_http_requests_in_flight 0
`
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "layoutproxy_http_requests_in_flight"); err != nil {
		t.Error(err)
	}
}

func TestNewRequiresRouteAndRegisterer(t *testing.T) {
	if _, err := observe.New(http.HandlerFunc(answers), observe.Options{}); err == nil {
		t.Error("New without a route and a registerer returned no error, want one")
	}
}
