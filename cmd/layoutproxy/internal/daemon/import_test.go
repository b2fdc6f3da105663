package daemon

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// Clients pull without a pause while bundles are imported. Every pull is complete and correct, both
// for tags that stay and for the tag that each bundle replaces. The importer and the server share
// only the disk, like two processes.
func TestPullsDuringImports(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	i, err := importer.New(importer.Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	imports := func(n int) {
		t.Helper()
		tree := layouttest.New(t, t.TempDir())
		l := tree.Layout("modules/one")
		image := l.Image(layouttest.Image{Name: fmt.Sprint("release ", n), LayerSizes: []int64{100_000, 50}})
		l.Tag(image, fmt.Sprintf("v%d", n))
		l.Tag(image, "stable")
		l.Write()
		if _, err := i.Import(t.Context(), tree.Dir()); err != nil {
			t.Fatal(err)
		}
	}
	imports(0)
	registry, _ := inProcess(t, "--rescan", "1s", store)
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	pull := func(tag string) error {
		body, d, err := fetch(client, "http://"+registry+"/v2/modules/one/manifests/"+tag)
		if err != nil {
			return err
		}
		if got := digest.FromBytes(body).String(); got != d {
			return fmt.Errorf("manifest %s: got the digest %s in the header, want %s, the digest of the body", tag, d, got)
		}
		for _, blob := range blobsOf(t, body) {
			body, _, err := fetch(client, "http://"+registry+"/v2/modules/one/blobs/"+blob.String())
			if err != nil {
				return err
			}
			if got := digest.FromBytes(body); got != blob {
				return fmt.Errorf("blob %s: the body has the digest %s, want the requested digest", blob, got)
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	var latest, pulls atomic.Int64
	done := make(chan struct{})
	for c := range 8 {
		wg.Go(func() {
			for n := c; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				tag := "stable"
				if n%3 != 0 {
					tag = fmt.Sprintf("v%d", int64(n)%(latest.Load()+1))
				}
				if err := pull(tag); err != nil {
					t.Errorf("pulling %s: got the error %v, want none", tag, err)
					return
				}
				pulls.Add(1)
			}
		})
	}
	for n := 1; n <= 4; n++ {
		imports(n)
		layouttest.Eventually(t, "the new tag is served", func() bool { return pull(fmt.Sprintf("v%d", n)) == nil })
		latest.Store(int64(n))
	}
	close(done)
	wg.Wait()
	if pulls.Load() < 32 {
		t.Errorf("got %d pulls, want at least 32", pulls.Load())
	}
}

func fetch(client *http.Client, url string) ([]byte, string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return body, resp.Header.Get("Docker-Content-Digest"), err
}

func blobsOf(t *testing.T, manifest []byte) (blobs []digest.Digest) {
	refs, err := closure.Parse(manifest)
	if err != nil || len(refs.Blobs) < 3 {
		t.Errorf("closure.Parse(%s): got %d blobs and the error %v, want at least 3 blobs", manifest, len(refs.Blobs), err)
	}
	for _, r := range refs.Blobs {
		blobs = append(blobs, r.Digest)
	}
	return blobs
}
