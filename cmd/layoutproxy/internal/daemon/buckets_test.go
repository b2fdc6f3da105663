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
