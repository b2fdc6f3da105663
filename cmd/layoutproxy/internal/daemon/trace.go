package daemon

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/registry"
	"github.com/layoutproxy/layoutproxy/registry/trace"
)

// lastSpans is how long the program waits for the collector at its end.
const lastSpans = 5 * time.Second

// traced reports the requests that next answers to the collector, if there is one. The
// second result sends the remaining spans.
func traced(endpoint, version string, next http.Handler, log *zap.Logger) (http.Handler, func(), error) {
	if endpoint == "" {
		return next, func() {}, nil
	}
	tracer, err := trace.New(context.Background(), trace.Options{
		Endpoint: endpoint, Version: version, Log: log.Named("trace"), Route: registry.Route,
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
