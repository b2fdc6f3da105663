// Package trace tells an OpenTelemetry collector of the requests that a handler
// answers: a span each, sent by OTLP over HTTP.
//
// [New] makes a [Tracer], [Tracer.Wrap] wraps a handler, and [Tracer.Close] sends what
// is left. Without a Tracer nothing is made and nothing is sent.
//
// A span goes on where the client's traceparent header says (W3C Trace Context), and
// has the attributes of OpenTelemetry's conventions for HTTP servers, and
// layoutproxy.repository. docs/tracing.md lists them. What is asked for is in it as in
// the access log; no header of the request is, so neither is a password or a token.
//
// Spans wait in memory, a few thousand at most, and are dropped where the collector is
// too slow: no request ever waits for it. The wrapped response keeps io.ReaderFrom, so
// that a plain blob still goes from its file to the socket without passing through us.
package trace
