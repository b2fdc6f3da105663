// Package trace reports the requests to a handler to an OpenTelemetry collector. It sends one
// span per request by OTLP over HTTP.
//
// [New] makes a [Tracer], [Tracer.Wrap] wraps a handler, and [Tracer.Close] sends the remaining
// spans. Without a Tracer, no spans are made or sent.
//
// A span continues the trace in the client's traceparent header (W3C Trace Context). It has the
// attributes of OpenTelemetry's conventions for HTTP servers, and layoutproxy.repository;
// docs/tracing.md lists them. It contains the path of the request, but no query and no header,
// and therefore no password or token.
//
// Spans wait in memory, a few thousand at most. If the collector is too slow, spans are dropped:
// no request ever waits for it. The wrapped response keeps io.ReaderFrom, so that the kernel
// still sends a plain blob from its file to the socket.
package trace
