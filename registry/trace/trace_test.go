package trace_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"

	"github.com/layoutproxy/layoutproxy/registry/trace"
)

type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	paths []string
	spans []*otlp.Span
	names map[string]string // attributes of the resource that the spans belong to
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{names: map[string]string{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err == nil && req.Header.Get("Content-Encoding") == "gzip" {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(z)
		}
	}
	var sent collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &sent)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paths = append(r.paths, req.URL.Path)
	for _, of := range sent.ResourceSpans {
		for _, a := range of.Resource.Attributes {
			r.names[a.Key] = a.Value.GetStringValue()
		}
		for _, s := range of.ScopeSpans {
			r.spans = append(r.spans, s.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func attributes(s *otlp.Span) map[string]any {
	all := map[string]any{}
	for _, a := range s.Attributes {
		all[a.Key] = a.Value.GetStringValue()
		if a.Key == "http.response.status_code" {
			all[a.Key] = a.Value.GetIntValue()
		}
	}
	delete(all, "client.address") // the port of the client is different each time
	return all
}

func newTracer(t *testing.T, endpoint string, log *zap.Logger) *trace.Tracer {
	t.Helper()
	tracer, err := trace.New(t.Context(), trace.Options{
		Endpoint: endpoint, Version: "v1", Log: log,
		Route:      func(*http.Request) string { return "blob" },
		Repository: func(r *http.Request) string { return strings.Trim(r.URL.Path, "/") },
	})
	if err != nil {
		t.Fatal(err)
	}
	return tracer
}

func closed(t *testing.T, tracer *trace.Tracer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := tracer.Close(ctx); err != nil {
		t.Error(err)
	}
}

func answers(w http.ResponseWriter, req *http.Request) {
	switch req.URL.Path {
	case "/copied":
		if _, ok := w.(io.ReaderFrom); !ok {
			w.WriteHeader(http.StatusNotImplemented)
		}
	case "/broken":
		w.WriteHeader(http.StatusInternalServerError)
	case "/cut":
		panic(http.ErrAbortHandler)
	}
}

func TestSpansOfRequests(t *testing.T) {
	to := newReceiver(t)
	tracer := newTracer(t, to.URL, zap.NewNop())
	s := httptest.NewServer(tracer.Wrap(http.HandlerFunc(answers)))
	defer s.Close()
	for _, path := range []string{"/copied", "/broken", "/cut"} {
		req, err := http.NewRequest("GET", s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		req.Close = true // without this, net/http repeats a request that was cut
		req.SetBasicAuth("frodo", "secret")
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		if (err != nil) != (path == "/cut") {
			t.Errorf("GET %s returned the error %v, want an error only for /cut", path, err)
		}
	}
	s.Close()
	closed(t, tracer)
	to.mu.Lock()
	defer to.mu.Unlock()
	if len(to.spans) != 3 || to.paths[0] != "/v1/traces" || to.names["service.name"] != "layoutproxy" || to.names["service.version"] != "v1" {
		t.Fatalf("the collector received %d spans at the paths %v with the attributes %v, want 3 spans at /v1/traces from layoutproxy v1", len(to.spans), to.paths, to.names)
	}
	for i, want := range []struct {
		path   string
		code   int64
		status otlp.Status_StatusCode
	}{{"/copied", 200, otlp.Status_STATUS_CODE_UNSET}, {"/broken", 500, otlp.Status_STATUS_CODE_ERROR}, {"/cut", 200, otlp.Status_STATUS_CODE_ERROR}} {
		span := to.spans[i]
		if diff := cmp.Diff(map[string]any{
			"http.request.method": "GET", "http.route": "blob", "url.path": want.path,
			"layoutproxy.repository": want.path[1:], "http.response.status_code": want.code,
		}, attributes(span)); diff != "" {
			t.Errorf("the span of %s has wrong attributes (-want +got):\n%s", want.path, diff)
		}
		if span.Name != "GET blob" || span.Kind != otlp.Span_SPAN_KIND_SERVER || span.GetStatus().GetCode() != want.status {
			t.Errorf("the span of %s has the name %q, the kind %v and the status %v; want GET blob, the kind server and the status code %v", want.path, span.Name, span.Kind, span.Status, want.status)
		}
		if got := hex.EncodeToString(span.TraceId) + " " + hex.EncodeToString(span.ParentSpanId); got != "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331" {
			t.Errorf("the span of %s has the trace and parent %s, want those in the client's header", want.path, got)
		}
		if strings.Contains(span.String(), "secret") || strings.Contains(span.String(), "frodo") {
			t.Errorf("a span contains the login, want it without: %v", span)
		}
	}
}

// The endpoint in the environment is used only if Options.Endpoint is Environment.
func TestEndpointFromEnvironment(t *testing.T) {
	named, other := newReceiver(t), newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", other.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	for _, endpoint := range []string{named.URL + "/otlp/v1/traces", trace.Environment} {
		tracer := newTracer(t, endpoint, zap.NewNop())
		tracer.Wrap(http.HandlerFunc(answers)).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil))
		closed(t, tracer)
	}
	if diff := cmp.Diff([]string{"/otlp/v1/traces"}, named.paths); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/v1/traces"}, other.paths); diff != "" {
		t.Error(diff)
	}
	if len(named.spans) != 1 || len(other.spans) != 1 {
		t.Errorf("the collectors received %d and %d spans in compressed requests, want one per collector", len(named.spans), len(other.spans))
	}
	for _, endpoint := range []string{"", "collector:4318", "grpc://collector:4317", "http://"} {
		if err := trace.CheckEndpoint(endpoint); err == nil {
			t.Errorf("CheckEndpoint(%q) returned no error, want one", endpoint)
		}
	}
	for _, value := range []string{"", "collector:4318"} {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", value)
		if err := trace.CheckEndpoint(trace.Environment); err == nil {
			t.Errorf("CheckEndpoint with the endpoint %q in the environment returned no error, want one", value)
		}
	}
}

func TestRejectedSpansAreLogged(t *testing.T) {
	refusing := httptest.NewServer(http.NotFoundHandler())
	defer refusing.Close()
	core, logs := observer.New(zap.DebugLevel)
	tracer := newTracer(t, refusing.URL, zap.New(core))
	w := httptest.NewRecorder()
	tracer.Wrap(http.HandlerFunc(answers)).ServeHTTP(w, httptest.NewRequest("GET", "/x", nil))
	if w.Code != http.StatusOK {
		t.Error(w.Code)
	}
	closed(t, tracer)
	if n := logs.FilterMessage("traces cannot be sent").Len(); n != 1 || logs.Len() != 1 {
		t.Errorf("the rejection was logged %d times in a log of %d lines, want once in one line", n, logs.Len())
	}
}
