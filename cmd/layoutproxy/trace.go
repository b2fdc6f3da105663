package main

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/registry"
	"github.com/layoutproxy/layoutproxy/registry/trace"
)

// traceFlags say whether requests are traced, and to where.
type traceFlags struct{ endpoint string }

func (f *traceFlags) flags(set *pflag.FlagSet) {
	set.StringVar(&f.endpoint, "trace-endpoint", "", "`URL` of an OpenTelemetry collector (OTLP over HTTP) that gets a span a request; env takes it from OTEL_EXPORTER_OTLP_ENDPOINT, empty means off")
}

func (f *traceFlags) check() error {
	if f.endpoint == "" {
		return nil
	}
	if err := trace.CheckEndpoint(f.endpoint); err != nil {
		return exit.UsageError(exit.WithHint(err, "name the collector, as --trace-endpoint http://127.0.0.1:4318"))
	}
	return nil
}

// lastSpans is how long the end waits for the collector.
const lastSpans = 5 * time.Second

// traced tells a collector of the requests that next answers, if there is one. The
// second result sends what is left.
func (f *traceFlags) traced(next http.Handler, log *zap.Logger) (http.Handler, func(), error) {
	if f.endpoint == "" {
		return next, func() {}, nil
	}
	tracer, err := trace.New(context.Background(), trace.Options{
		Endpoint: f.endpoint, Version: version, Log: log.Named("trace"), Route: registry.Route,
		Repository: func(req *http.Request) string {
			kind, name := registry.Scope(req)
			if kind != "repository" {
				return ""
			}
			return name
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return tracer.Wrap(next), func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
		defer cancel()
		if err := tracer.Close(ctx); err != nil {
			log.Warn("traces cannot be sent", zap.Error(err))
		}
	}, nil
}
