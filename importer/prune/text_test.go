package prune_test

import (
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/prune"
)

// The summary of a plan shows a grace period without trailing units that are zero: 1h, not 1h0m0s.
func TestSummaryShowsGracePeriod(t *testing.T) {
	for grace, want := range map[time.Duration]string{
		0: " free", 20 * time.Second: " free after 20s", 10 * time.Minute: " free after 10m", 15 * time.Minute: " free after 15m", 30 * time.Minute: " free after 30m",
		time.Hour: " free after 1h", 20 * time.Hour: " free after 20h", 100 * time.Minute: " free after 1h40m",
		time.Hour + 10*time.Second: " free after 1h0m10s", 10*time.Minute + 20*time.Second: " free after 10m20s",
	} {
		p := prune.Plan{Grace: grace.String(), Remove: prune.Removal{Images: []prune.Decision{{}}}}
		if got := p.Summary(); !strings.HasSuffix(got, want) {
			t.Errorf("grace period %s: the summary is %q, want %q at the end", grace, got, want)
		}
	}
}
