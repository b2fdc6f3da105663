package console

import (
	"io"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestProgressAsLogLines(t *testing.T) {
	core, lines := observer.New(zap.InfoLevel)
	p := NewProgress(zap.New(core), New(io.Discard), "verifying")
	p.every = time.Millisecond
	p.Begin(2, 4_000_000)
	p.Read(1_000_000)
	for lines.Len() < 2 {
		time.Sleep(time.Millisecond)
	}
	p.Stop()
	told := lines.Len()
	time.Sleep(5 * time.Millisecond)
	if lines.Len() != told {
		t.Error("Progress logged a line after Stop, want none")
	}
	line := lines.All()[1]
	fields := line.ContextMap()
	if line.Message != "verifying" || fields["done"] != "1.0 MB" || fields["of"] != "4.0 MB" || fields["rate"] == nil || fields["left"] == nil {
		t.Errorf("the second log line is %q with %v, want \"verifying\" with done 1.0 MB, of 4.0 MB, rate and left", line.Message, fields)
	}
}
