package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// If a disk hangs while a manifest is read, also for --push-to, /status still answers in time, other
// images can be pulled, clients can disconnect, and the program can be stopped.
func TestServerWorksWhileDiskHangs(t *testing.T) {
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("app")
	l.Tag(l.Image(layouttest.Image{Layers: [][]byte{[]byte("fast")}}), "fast")
	slow := l.Image(layouttest.Image{Layers: [][]byte{[]byte("slow")}})
	l.Tag(slow, "slow")
	l.Write()

	var hanging atomic.Int64
	release := make(chan struct{})
	flags := settingsOf(t, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--root-repository", "", "--shutdown-timeout", "1s", "--cache-dir", "", dir)
	opened := func(info fs.FileInfo) {
		if info.Name() == slow.Digest.Encoded() {
			hanging.Add(1)
			<-release
			hanging.Add(-1)
		}
	}
	s, err := New(t.Context(), Options{Settings: flags, Log: zap.NewNop(), opened: opened})
	if err != nil {
		t.Fatal(err)
	}
	s.stuckAfter, s.live.patience = time.Millisecond, time.Millisecond
	to, err := client.New(client.Options{Registry: "127.0.0.1:1"})
	layouttest.Try(t, err)
	s.follower = &follower{log: zap.NewNop(), client: to, changed: make(trigger, 1),
		revision: func(context.Context) (string, error) { return "1", nil },
		once:     func(context.Context) (bool, error) { hanging.Add(1); <-release; hanging.Add(-1); return true, nil }}
	s.follower.push()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	registry, admin := "http://"+s.servers[0].Listener.Addr().String(), "http://"+s.servers[1].Listener.Addr().String()

	browser := &http.Client{Transport: &http.Transport{}}
	defer browser.CloseIdleConnections()
	get := func(ctx context.Context, url string) (int, []byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := browser.Do(req)
		if err != nil {
			return 0, nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, body, err
	}
	layouttest.Eventually(t, "the check at the start and the push read the slow manifest", func() bool { return hanging.Load() > 1 })
	if code, _, err := get(t.Context(), registry+"/v2/app/manifests/fast"); code != http.StatusOK {
		t.Errorf("pulling the manifest of the other image: status %d (error: %v), want 200", code, err)
	}
	if code, body, err := get(t.Context(), registry+"/v2/app/blobs/"+digest.FromString("fast").String()); code != http.StatusOK || string(body) != "fast" {
		t.Errorf("pulling the layer of the other image: status %d, body %q (error: %v), want 200 and \"fast\"", code, body, err)
	}
	// /status does not wait for the end of the check.
	code, body, err := get(t.Context(), admin+"/status")
	var document struct {
		Repositories int
		Checked      bool
	}
	if err != nil || code != http.StatusOK || json.Unmarshal(body, &document) != nil || document.Repositories != 1 || document.Checked {
		t.Errorf("/status answers %d, %s (error: %v), want one repository in an unchecked generation", code, body, err)
	}
	gone, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { _, _, err := get(gone, registry+"/v2/app/manifests/slow"); left <- err }()
	layouttest.Eventually(t, "the request reads the slow manifest", func() bool { return hanging.Load() > 2 })
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("a client that disconnects gets the error %v, want context.Canceled", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := hanging.Load(); got < 2 {
		t.Errorf("%d reads hang after the server has stopped, want at least 2: the check and the push", got)
	}
	close(release)
	layouttest.Eventually(t, "all reads end after the disk answers again", func() bool { return hanging.Load() == 0 })
}
