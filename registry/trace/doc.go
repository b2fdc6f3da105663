// Package trace reports the requests to a handler to an OpenTelemetry collector: one span per
// request, sent by OTLP over HTTP.
//
// [New] makes a [Tracer], [Tracer.Wrap] wraps a handler, and [Tracer.Close] sends the
// remaining spans. Without a Tracer no spans are made or sent.
//
// A span continues the trace in the client's traceparent header (W3C Trace Context). It
// has the attributes of OpenTelemetry's conventions for HTTP servers, and
// layoutproxy.repository; docs/tracing.md lists them. It contains the path and query, like
// the access log, but no header of the request, and therefore no password or token.
//
// Spans wait in memory, a few thousand at most, and are dropped if the collector is too
// slow: no request ever waits for it. The wrapped response keeps io.ReaderFrom, so that
// the kernel still sends a plain blob from its file to the socket.
package trace
