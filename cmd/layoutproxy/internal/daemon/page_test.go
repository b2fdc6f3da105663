package daemon

import (
	"context"
	"testing"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// The web page names the registry that the images come from as soon as the server runs, before any
// version is judged. Operators need that name to configure nodes.
func TestFirstPageNamesRegistryOfImages(t *testing.T) {
	dir := t.TempDir()
	layouttest.Publish(t, dir, "app", "v1.0.0")
	s, err := New(t.Context(), Options{Log: zap.NewNop(),
		Settings: settingsOf(t, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--rescan", "0", "--cache-dir", "", dir)})
	layouttest.Try(t, err)
	// A request waits at most for the time pageWait. On a busy machine, the first requests may get no answer in time.
	layouttest.Eventually(t, "the page names the registry that the images come from", func() bool { return s.pageStatus(t.Context()).Upstream == "registry.deckhouse.io" })
	// The second call for a generation needs no storage: it uses the remembered registry.
	ended, end := context.WithCancel(t.Context())
	end()
	if host := s.upstream.of(ended, s.live.tree.Snapshot()); host != "registry.deckhouse.io" {
		t.Errorf("the second call returned %q, want the cached host name", host)
	}
	layouttest.Try(t, s.Run(ended)) // closes the listeners, because ended has ended
}
