package trace

import (
	"context"
	"errors"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// Environment is the value of Options.Endpoint that stands for the endpoint in
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT.
const Environment = "env"

// Options configures what to trace, and where to send the spans.
type Options struct {
	// Endpoint is the URL of a collector that accepts OTLP over HTTP, or [Environment]. If the
	// URL has no path, /v1/traces is used. The standard variables OTEL_… set headers,
	// certificates, timeout and sampling.
	Endpoint string
	Version  string // version of the program

	// Route returns the route of a request. The number of different routes must be small.
	// Repository returns the repository of a request, or "".
	Route, Repository func(*http.Request) string

	Log *zap.Logger // gets a line if spans cannot be sent
}

// Tracer creates spans and sends them to a collector.
type Tracer struct {
	options  Options
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// CheckEndpoint returns an error if an endpoint is invalid.
func CheckEndpoint(endpoint string) error {
	_, err := address(endpoint)
	return err
}

// New creates a tracer, which contacts the collector only when it has spans to send. It returns
// an error if an option is missing, if an environment variable is malformed, or if a certificate
// cannot be read. It also returns the errors of [CheckEndpoint].
func New(ctx context.Context, o Options) (*Tracer, error) {
	if o.Route == nil || o.Repository == nil || o.Log == nil {
		return nil, errors.New("tracing needs a route, a repository and a log")
	}
	settings, err := newSettings(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if settings.headers.Get("User-Agent") == "" {
		settings.headers.Set("User-Agent", "layoutproxy/"+o.Version)
	}
	exporter, err := otlptrace.New(ctx, newCollector(settings))
	if err != nil {
		return nil, err
	}
	what, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "layoutproxy"), attribute.String("service.version", o.Version),
	), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(&loggedExporter{SpanExporter: exporter, log: o.Log}), sdk.WithResource(what))
	return &Tracer{o, provider, provider.Tracer("github.com/layoutproxy/layoutproxy/registry/trace")}, nil
}

// Close sends the remaining spans, and gives up when the context ends.
func (t *Tracer) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }
