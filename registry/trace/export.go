package trace

import (
	"context"
	"sync"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
)

// tellEvery is how often it is said that spans cannot be sent.
const tellEvery = time.Minute

// told is an exporter whose errors go to our log. The library has one handler for the
// whole process, which prints them.
type told struct {
	sdk.SpanExporter
	log *zap.Logger

	mu   sync.Mutex
	last time.Time // when it was told
	lost int       // spans since then
}

// ExportSpans implements the exporter. What cannot be sent is lost.
func (e *told) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost += len(spans)
	if time.Since(e.last) < tellEvery {
		return nil
	}
	e.log.Warn("traces cannot be sent", zap.Error(err), zap.Int("spans", e.lost))
	e.last, e.lost = time.Now(), 0
	return nil
}
