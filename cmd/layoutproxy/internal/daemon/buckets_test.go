package daemon

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// A server is ready if it can reach the buckets that it serves. Other buckets do not matter: those that
// only a rejected configuration names, and those that a new configuration no longer names. /metrics says
// the same.
func TestOnlyServedBucketsMakeServerUnready(t *testing.T) {
	store := buckettest.Start(t)
	t.Setenv("AWS_ACCESS_KEY_ID", buckettest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", buckettest.SecretKey)
	dir, config := t.TempDir(), filepath.Join(t.TempDir(), "config.yaml")
	layouttest.Publish(t, dir, "app", "v1")
	layouttest.Try(t, filepath.WalkDir(dir, func(file string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(file)
		key, _ := filepath.Rel(dir, file)
		store.Write(t, "bundle/"+filepath.ToSlash(key), content)
		return err
	}))
	write := func(sources ...string) {
		t.Helper()
		layouttest.Try(t, os.WriteFile(config, fmt.Appendf(nil, "sources: [%s]\n", strings.Join(sources, ", ")), 0o644))
	}
	served := "s3://" + buckettest.Bucket + "/bundle"
	write(dir, served)
	s := running(t, "--config", config, "--s3-endpoint", store.URL, "--s3-path-style")
	metrics := "http://" + s.servers[1].Listener.Addr().String() + "/metrics"
	client := &http.Client{Timeout: time.Minute}
	ready := func(want int, when string) {
		t.Helper()
		reachable := "\nlayoutproxy_buckets_reachable 1\n"
		if want != http.StatusOK {
			reachable = "\nlayoutproxy_buckets_reachable 0\n"
		}
		all, _, err := fetch(client, metrics)
		layouttest.Try(t, err)
		if !strings.Contains(string(all), reachable) {
			t.Errorf("/metrics %s: does not contain %q, want it", when, reachable)
		}
		w := httptest.NewRecorder()
		s.ready(w, nil)
		if w.Code != want {
			t.Errorf("/readyz %s: got status %d (%s), want %d", when, w.Code, w.Body, want)
		}
	}
	ready(http.StatusOK, "at the start")

	write(dir, served, "s3://misspelled/bundle")
	s.reload(t.Context())
	ready(http.StatusOK, "after a configuration with a missing bucket was rejected")

	store.Fail(func(buckettest.Request) buckettest.Fault {
		return buckettest.Fault{Status: http.StatusForbidden, Code: "AccessDenied"}
	})
	s.live.rescan(t.Context())
	ready(http.StatusServiceUnavailable, "while the object store refuses the credentials")
	write(dir)
	s.reload(t.Context())
	ready(http.StatusOK, "after the bucket was removed from the configuration")
}

// A changed endpoint takes effect only after a restart. If a reload used it for a new source in a bucket that
// is already served, the server would report the bucket as unreachable, and answer no request for its content.
func TestReloadDoesNotChangeObjectStore(t *testing.T) {
	store := buckettest.Start(t)
	t.Setenv("AWS_ACCESS_KEY_ID", buckettest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", buckettest.SecretKey)
	for _, name := range []string{"one", "two"} {
		dir, archive := t.TempDir(), filepath.Join(t.TempDir(), name+".tar")
		layouttest.Publish(t, dir, name, "v1")
		layouttest.New(t, dir).Archive(archive, layouttest.Archive{})
		store.Write(t, name+".tar", layouttest.ReadFile(t, archive))
	}
	config, at := filepath.Join(t.TempDir(), "config.yaml"), "s3://"+buckettest.Bucket
	layouttest.Try(t, os.WriteFile(config, fmt.Appendf(nil, "sources: [%s/one.tar]\ns3-endpoint: %s\n", at, store.URL), 0o644))
	s := running(t, "--config", config, "--s3-path-style")
	layouttest.Try(t, os.WriteFile(config, fmt.Appendf(nil, "sources: [%s/one.tar, %s/two.tar]\ns3-endpoint: http://127.0.0.1:1\n", at, at), 0o644))
	s.reload(t.Context())
	if err := s.reach.Err(); err != nil {
		t.Errorf("after a reload with another endpoint, the bucket counts as unreachable: %v", err)
	}
	if got := s.live.Snapshot().RepositoryCount(); got != 2 {
		t.Errorf("after a reload with another source, the server has %d repositories, want 2", got)
	}
}
