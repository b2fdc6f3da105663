package trace

import (
	"context"
	"sync"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
)

// reportEvery is how often lost spans are reported.
const reportEvery = time.Minute

// loggedExporter is an exporter that logs its errors. The library would pass them to a handler of
// the whole process, which prints them.
type loggedExporter struct {
	sdk.SpanExporter
	log *zap.Logger

	mu   sync.Mutex
	last time.Time // when errors were last reported
	lost int       // number of spans since then
}

// ExportSpans implements the exporter. Spans that cannot be sent are lost.
func (e *loggedExporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost += len(spans)
	if time.Since(e.last) < reportEvery {
		return nil
	}
	e.log.Warn("traces cannot be sent", zap.Error(err), zap.Int("spans", e.lost))
	e.last, e.lost = time.Now(), 0
	return nil
}
