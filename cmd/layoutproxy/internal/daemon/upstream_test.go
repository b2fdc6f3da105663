package daemon

import (
	"context"
	"testing"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// The page knows the registry of the images, although no version has been judged: it says what to
// put on a node, and nobody loads it twice for that.
func TestPageKnowsTheUpstreamAtOnce(t *testing.T) {
	dir := t.TempDir()
	layouttest.Publish(t, dir, "app", "v1.0.0")
	s, err := New(t.Context(), Options{Log: zap.NewNop(),
		Settings: settingsOf(t, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--rescan", "0", "--cache-dir", "", dir)})
	layouttest.Try(t, err)
	// It waits only so long for a storage: on a busy machine a first call may have nothing.
	layouttest.Eventually(t, "the registry of the images", func() bool { return s.admin.pageStatus(t.Context()).Upstream == "registry.deckhouse.io" })
	// The upstream is read once per generation.
	ended, end := context.WithCancel(t.Context())
	end()
	if host := s.admin.upstream.of(ended, s.live.tree.Snapshot()); host != "registry.deckhouse.io" {
		t.Errorf("of a storage that does not answer: %q", host)
	}
	layouttest.Try(t, s.Run(ended)) // closes what it listens on
}
