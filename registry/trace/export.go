package trace

import (
	"context"
	"sync"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
)

// reportEvery is how often lost spans are reported in the log.
const reportEvery = time.Minute

// loggedExporter is an exporter that logs its errors. Otherwise OpenTelemetry would pass the errors
// to the handler of the whole process, which prints them.
type loggedExporter struct {
	sdk.SpanExporter
	log *zap.Logger

	mu sync.Mutex
	// last is when the last warning about lost spans was logged.
	last time.Time
	// lost is the number of spans lost since the last warning.
	lost int
}

// ExportSpans implements the interface SpanExporter. If spans cannot be sent, they are lost.
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
