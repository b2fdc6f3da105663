package registry_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/s3"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry"
)

func inBucket(t *testing.T, wait func(context.Context) error) (s *server, store *buckettest.Server, manifest, layer digest.Digest) {
	t.Helper()
	return layerInBucket(t, []byte("a layer of some bytes"), wait, nil)
}

// layerInBucket serves a layout with a layer from a bucket. change, if it is not nil, changes the options of
// the client of the bucket.
func layerInBucket(t *testing.T, content []byte, wait func(context.Context) error, change func(*s3.Options)) (s *server, store *buckettest.Server, manifest, layer digest.Digest) {
	t.Helper()
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	l := tree.Layout("app")
	layer = l.Blob("application/vnd.oci.image.layer.v1.tar", content).Digest
	i := l.Image(layouttest.Image{Name: "app"})
	l.Tag(i, "v1")
	l.Write()
	store = buckettest.Start(t)
	options := store.Options()
	if change != nil {
		change(&options)
	}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		store.Write(t, filepath.ToSlash(name), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s = serve(t, layoutstore.Options{Sources: []string{"s3://" + buckettest.Bucket}, Roots: []string{""},
		Buckets: func(bucket.Place) bucket.Reader { return store.OpenWith(t, "", options) }})
	h, err := registry.New(s.tree, registry.Options{Refused: s.refuse, Reachable: wait})
	if err != nil {
		t.Fatal(err)
	}
	s.listen(h)
	return s, store, i.Digest, layer
}

// If a bucket is unreachable, requests for its content wait for at most 30 seconds, and then get
// 429, never 404. In this test, the wait ends at once.
func TestUnreachableBucketGets429(t *testing.T) {
	t.Parallel()
	var waits atomic.Int64
	s, store, manifest, layer := inBucket(t, func(ctx context.Context) error {
		waits.Add(1)
		deadline, ok := ctx.Deadline()
		if left := time.Until(deadline); !ok || left > 30*time.Second || left < time.Second {
			t.Errorf("the request may wait for %s, want at most 30 seconds", left)
		}
		return context.DeadlineExceeded // the test acts as if the time were over
	})
	store.Unreachable()
	cold := "/v2/app/manifests/" + manifest.String()
	for _, path := range []string{cold, "/v2/app/blobs/" + layer.String(), "/v2/app/manifests/v1", "/v2/app/referrers/" + layer.String()} {
		resp := s.get(path)
		if resp.status != http.StatusTooManyRequests || resp.header.Get("Retry-After") == "" {
			t.Errorf("%s is answered with %d and Retry-After %q, want 429 and a Retry-After header", path, resp.status, resp.header.Get("Retry-After"))
		}
	}
	if waits.Load() != 4 {
		t.Errorf("there were %d waits for 4 requests, want one per request", waits.Load())
	}
	for _, path := range []string{"/v2/", "/v2/_catalog", "/v2/app/tags/list"} {
		if resp := s.get(path); resp.status != http.StatusOK {
			t.Errorf("%s: %d", path, resp.status)
		}
	}
	store.Fail(nil)
	if resp := s.get(cold); resp.status != http.StatusOK {
		t.Fatalf("%d", resp.status)
	}
	store.Unreachable()
	for _, path := range []string{cold, "/v2/app/manifests/v1"} {
		if resp := s.get(path); resp.status != http.StatusOK {
			t.Errorf("GET %s: got status %d, want 200, because the content is in memory", path, resp.status)
		}
	}
	if waits.Load() != 4 {
		t.Errorf("%d waits", waits.Load())
	}
}

// Whenever the bucket may be reachable again, a waiting request is tried again. It is answered
// when the bucket is back.
func TestRequestsContinueWhenBucketIsBack(t *testing.T) {
	t.Parallel()
	var store *buckettest.Server
	var waits atomic.Int64
	var s *server
	var layer digest.Digest
	s, store, _, layer = inBucket(t, func(ctx context.Context) error {
		if waits.Add(1) == 3 {
			store.Fail(nil)
		}
		return nil
	})
	store.Unreachable()
	resp := s.get("/v2/app/blobs/" + layer.String())
	if resp.status != http.StatusOK || !strings.Contains(string(resp.body), "a layer of some bytes") || waits.Load() != 3 {
		t.Errorf("the status is %d after %d waits, want 200 after 3: %q", resp.status, waits.Load(), resp.body)
	}
}

// If the object of a blob is gone, but the bucket cannot be listed, nobody knows whether the bucket now has the
// blob in another object. So the request gets 429, not 404.
func TestMissingObjectOfBucketThatCannotBeListed(t *testing.T) {
	t.Parallel()
	s, store, _, layer := inBucket(t, nil)
	path := "/v2/app/blobs/" + layer.String()
	store.Remove(t, "app/blobs/sha256/"+layer.Encoded())
	store.Fail(func(r buckettest.Request) (f buckettest.Fault) {
		if r.Operation == buckettest.List {
			f = buckettest.Unavailable()
		}
		return f
	})
	if resp := s.get(path); resp.status != http.StatusTooManyRequests || resp.header.Get("Retry-After") == "" {
		t.Errorf("while the bucket cannot be listed: got status %d and Retry-After %q, want 429 and a Retry-After header", resp.status, resp.header.Get("Retry-After"))
	}
	store.Fail(nil)
	if resp := s.get(path); resp.status != http.StatusNotFound {
		t.Errorf("after the bucket was listed: got status %d, want 404", resp.status)
	}
}
