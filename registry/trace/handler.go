package trace

import (
	"net/http"
	"strings"

	"github.com/felixge/httpsnoop"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// maxPath limits the length of a path in a span, in bytes.
const maxPath = 512

// Wrap returns a handler that creates one span for each request to next.
func (t *Tracer) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx := propagation.TraceContext{}.Extract(req.Context(), propagation.HeaderCarrier(req.Header))
		route := t.options.Route(req)
		ctx, span := t.tracer.Start(ctx, method(req.Method)+" "+route,
			trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(t.requestAttributes(req, route)...))
		code, cut := 0, true // cut stays true if a handler panics, which cuts the connection
		defer func() { endSpan(span, code, cut) }()
		next.ServeHTTP(httpsnoop.Wrap(w, httpsnoop.Hooks{WriteHeader: recordStatus(&code)}), req.WithContext(ctx))
		cut = false
	})
}

// recordStatus stores the status of a response in code. It wraps only the method that sets the
// status, so that the kernel still sends files through the server's ReadFrom.
func recordStatus(code *int) func(httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
	return func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
		return func(c int) {
			if *code == 0 && c >= 200 {
				*code = c
			}
			next(c)
		}
	}
}

func (t *Tracer) requestAttributes(req *http.Request, route string) []attribute.KeyValue {
	path := req.URL.Path
	if len(path) > maxPath {
		path = strings.ToValidUTF8(path[:maxPath], "")
	}
	all := []attribute.KeyValue{
		attribute.String("http.request.method", method(req.Method)),
		attribute.String("http.route", route),
		attribute.String("url.path", path),
		attribute.String("client.address", req.RemoteAddr),
	}
	if repository := t.options.Repository(req); repository != "" {
		all = append(all, attribute.String("layoutproxy.repository", repository))
	}
	return all
}

func endSpan(span trace.Span, code int, cut bool) {
	if code == 0 {
		code = http.StatusOK // if the handler sets no status, net/http sends 200
	}
	span.SetAttributes(attribute.Int("http.response.status_code", code))
	switch {
	case cut:
		span.SetStatus(codes.Error, "the answer was cut")
	case code >= 500:
		span.SetStatus(codes.Error, http.StatusText(code))
	}
	span.End()
}

func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "_OTHER"
}
