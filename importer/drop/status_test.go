package drop

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// A running import logs its progress only once per ten seconds.
func TestImportLogsProgress(t *testing.T) {
	core, lines := observer.New(zap.InfoLevel)
	now := time.Unix(1_700_000_000, 0)
	d := &Drop{log: zap.New(core), options: Options{Now: func() time.Time { return now }}, items: map[string]*item{
		"a": {status: Status{Name: "platform.tar", State: "verifying", Since: now}},
	}}
	d.Begin(1, 4_000_000)
	for range 40 { // seconds
		now = now.Add(time.Second)
		d.Read(50_000)
	}
	if n := lines.Len(); n != 4 {
		t.Fatalf("got %d log lines in 40 seconds, want 4", n)
	}
	fields := lines.All()[0].ContextMap()
	if fields["bundle"] != "platform.tar" || fields["done"] != "500 kB" || fields["of"] != "4.0 MB" || fields["rate"] != "50 kB/s" || fields["left"] != 70*time.Second {
		t.Errorf("%v", fields)
	}
}
