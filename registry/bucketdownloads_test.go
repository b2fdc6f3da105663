package registry_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/s3"
)

// Sizes in bytes: of a layer in a bucket, and of the part that the store sends before the object
// changes or the body stalls.
const (
	layerSize = 4 << 20
	firstPart = 1 << 20
)

// onLayer returns a function that answers the first GET request for a layer with fault.
func onLayer(layer digest.Digest, fault buckettest.Fault) func(buckettest.Request) buckettest.Fault {
	done := false
	return func(r buckettest.Request) buckettest.Fault {
		if done || r.Operation != buckettest.Get || !strings.HasSuffix(r.Key, layer.Encoded()) {
			return buckettest.Fault{}
		}
		done = true
		return fault
	}
}

// If the object of a blob is replaced during a download, the client gets the old bytes or a
// download that ends early, never bytes of both objects. Later requests cause a rescan and get the
// new bytes, although they request the old digest. This is safe, because clients check digests. A
// replaced file is served in the same way.
func TestObjectChangesDuringDownload(t *testing.T) {
	t.Parallel()
	content, other := bytes.Repeat([]byte("old "), layerSize/4), bytes.Repeat([]byte("new "), layerSize/4)
	for name, cut := range map[string]bool{"the store sends the rest": false, "the store ends the answer": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, store, _, layer := layerInBucket(t, content, nil, nil)
			key := "app/blobs/sha256/" + layer.Encoded()
			replace := func() { store.Write(t, key, other) }
			fault := buckettest.Fault{CutAfter: firstPart, Pause: replace}
			if cut {
				fault = buckettest.Fault{CutAfter: firstPart, Cut: true}
			}
			store.Fail(onLayer(layer, fault))
			path := "/v2/app/blobs/" + layer.String()
			body := s.start(path)
			if cut {
				replace()
			}
			rest, err := io.ReadAll(body)
			if cut == (err == nil) || !bytes.HasPrefix(content[1000:], rest) || !cut && len(rest) != layerSize-1000 {
				t.Errorf("the rest of the download has %d bytes (error %v), want only old bytes: %d without an error, or, if the store ends the answer (here: %v), fewer with an error", len(rest), err, layerSize-1000, cut)
			}
			for header, want := range map[string][]byte{"": other, "bytes=1048576-": other[firstPart:]} {
				if resp := s.get(path, "Range", header); resp.status >= 300 || !bytes.Equal(resp.body, want) {
					t.Errorf("after the object was replaced, GET with Range %q: got status %d and %d bytes, want success and the bytes of the new object", header, resp.status, len(resp.body))
				}
			}
		})
	}
}

// stalls replaces the timer that limits how long a body from an object store may stall.
type stalls struct {
	mu    sync.Mutex
	after map[time.Duration]bool
	fire  []func()
}

func (c *stalls) afterFunc(d time.Duration, f func()) *time.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.after[d] = true
	c.fire = append(c.fire, f)
	return time.NewTimer(time.Hour)
}

// pass makes the time limit of all stalled bodies expire.
func (c *stalls) pass(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.after) != 1 || !c.after[time.Minute] {
		t.Errorf("a body may stall for %v, want one minute, as documented", c.after)
	}
	for _, f := range c.fire {
		f()
	}
}

// If an object store stops sending bytes, the download ends with an error after a minute. During
// this minute, the server still answers other requests.
func TestBodyFromBucketStalls(t *testing.T) {
	t.Parallel()
	clock := &stalls{after: map[time.Duration]bool{}}
	content := bytes.Repeat([]byte("old "), layerSize/4)
	s, store, manifest, layer := layerInBucket(t, content, nil, func(o *s3.Options) { o.AfterFunc = clock.afterFunc })
	stalled, resume := make(chan struct{}), make(chan struct{})
	defer close(resume)
	store.Fail(onLayer(layer, buckettest.Fault{CutAfter: firstPart, Pause: func() { close(stalled); <-resume }}))
	path := "/v2/app/blobs/" + layer.String()
	body := s.start(path)
	if n, err := io.ReadFull(body, make([]byte, firstPart-1000)); err != nil {
		t.Fatalf("before the stall, got %d bytes (error %v), want %d", n, err, firstPart-1000)
	}
	<-stalled
	for _, other := range []string{"/v2/", "/v2/app/tags/list", "/v2/app/manifests/" + manifest.String(), path} {
		if resp := s.get(other); resp.status != http.StatusOK {
			t.Errorf("GET %s while a download stalls: got status %d, want 200", other, resp.status)
		}
	}
	clock.pass(t)
	if n, err := io.Copy(io.Discard, body); err == nil || n > 0 {
		t.Errorf("the stalled download: got %d more bytes and the error %v, want 0 bytes and an error", n, err)
	}
	if resp := s.get(path); resp.status != http.StatusOK || !bytes.Equal(resp.body, content) {
		t.Errorf("GET after the stall: got status %d and %d bytes, want 200 and the complete layer", resp.status, len(resp.body))
	}
}
