package daemon

import (
	"context"
	"testing"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// The first page already names the registry of the images, before any version is judged: operators
// need it to configure nodes.
func TestFirstPageNamesUpstream(t *testing.T) {
	dir := t.TempDir()
	layouttest.Publish(t, dir, "app", "v1.0.0")
	s, err := New(t.Context(), Options{Log: zap.NewNop(),
		Settings: settingsOf(t, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--rescan", "0", "--cache-dir", "", dir)})
	layouttest.Try(t, err)
	// A page waits only for pageWait, so on a busy machine a first call may find nothing.
	layouttest.Eventually(t, "the registry of the images", func() bool { return s.pageStatus(t.Context()).Upstream == "registry.deckhouse.io" })
	// The upstream is read once per generation.
	ended, end := context.WithCancel(t.Context())
	end()
	if host := s.upstream.of(ended, s.live.tree.Snapshot()); host != "registry.deckhouse.io" {
		t.Errorf("without access to the storage: %q", host)
	}
	layouttest.Try(t, s.Run(ended)) // closes what it listens on
}
