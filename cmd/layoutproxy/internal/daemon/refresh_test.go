package daemon

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

func TestChangedLayoutsAreServed(t *testing.T) {
	for name, rescan := range map[string]time.Duration{
		"file system events": 0,
		"periodic rescans":   50 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			for _, version := range []string{"one", "two"} {
				layouttest.Publish(t, filepath.Join(parent, version), "install", version)
			}
			current := filepath.Join(parent, "current")
			layouttest.Try(t, os.Symlink("one", current))
			registry, _ := inProcess(t, "--rescan", rescan.String(), current)
			manifest := func(repo, tag string) int {
				return registrytest.StatusOf("http://" + registry + "/v2/" + repo + "/manifests/" + tag)
			}
			layouttest.Eventually(t, "the first tag is served", func() bool { return manifest("install", "one") == 200 })
			layouttest.Publish(t, filepath.Join(parent, "one"), "install", "one", "more")
			layouttest.Eventually(t, "a tag that was added to an index is served", func() bool { return manifest("install", "more") == 200 })
			layouttest.Publish(t, filepath.Join(parent, "one"), "modules/a/release", "v1")
			layouttest.Eventually(t, "a new layout in new directories is served", func() bool { return manifest("modules/a/release", "v1") == 200 })
			layouttest.Eventually(t, "the discovery tag of the new layout is served", func() bool { return manifest("modules", "a") == 200 })
			layouttest.Publish(t, filepath.Join(parent, "one"), "modules/a/release", "v1", "v2")
			layouttest.Eventually(t, "a tag that was added to the new layout is served", func() bool { return manifest("modules/a/release", "v2") == 200 })
			layouttest.Try(t, os.RemoveAll(filepath.Join(parent, "one/modules")))
			layouttest.Eventually(t, "a removed layout is no longer served", func() bool { return manifest("modules/a/release", "v1") == 404 && manifest("modules", "a") == 404 })
			layouttest.Try(t, os.Symlink("two", current+".new"))
			layouttest.Try(t, os.Rename(current+".new", current))
			layouttest.Eventually(t, "the tree that the changed link leads to is served", func() bool { return manifest("install", "two") == 200 && manifest("install", "one") == 404 })
			layouttest.Publish(t, filepath.Join(parent, "two"), "install", "two", "three")
			layouttest.Eventually(t, "a tag that was added to the second tree is served", func() bool { return manifest("install", "three") == 200 })
		})
	}
}

// Kubernetes updates the directory of a ConfigMap in this way: all names are links through the link
// ..data, which is replaced.
func TestConfigMapUpdateIsServed(t *testing.T) {
	dir := t.TempDir()
	layouttest.Publish(t, filepath.Join(dir, "..1"), "install", "one")
	layouttest.Publish(t, filepath.Join(dir, "..2"), "install", "two")
	layouttest.Try(t, os.Symlink("..1", filepath.Join(dir, "..data")))
	layouttest.Try(t, os.Symlink("..data/install", filepath.Join(dir, "install")))
	registry, _ := inProcess(t, dir)
	manifest := func(tag string) int {
		return registrytest.StatusOf("http://" + registry + "/v2/install/manifests/" + tag)
	}
	layouttest.Eventually(t, "the first version is served", func() bool { return manifest("one") == 200 })
	layouttest.Try(t, os.Symlink("..2", filepath.Join(dir, "..data_tmp")))
	layouttest.Try(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	layouttest.Eventually(t, "the second version is served", func() bool { return manifest("two") == 200 && manifest("one") == 404 })
}

// Clients that pull while the tree changes get correct answers. Before each further change, the
// test waits for 64 more pulls.
func TestPullsDuringChanges(t *testing.T) {
	// Other tests and earlier runs of this test may leave goroutines behind.
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("load", func(t *testing.T) {
		dir := t.TempDir()
		layouttest.Publish(t, dir, "stable", "v1", "v2")
		layouttest.Publish(t, dir, "changing", "v1", "generation-0")
		var published sync.Map // digests that the tag moving:v1 has pointed to
		move(t, dir, 0, &published)
		registry, admin := inProcess(t, "--rescan", "1s", dir)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var pulls atomic.Int64
		var clients sync.WaitGroup
		for range 64 {
			clients.Go(func() {
				transport := &http.Transport{}
				defer transport.CloseIdleConnections()
				c := &puller{client: &http.Client{Transport: transport}, base: "http://" + registry + "/v2/"}
				for ctx.Err() == nil {
					for _, repo := range []string{"stable", "changing", "moving"} {
						d, err := c.pull(repo)
						if err != nil {
							t.Error(err)
							return
						}
						if _, ok := published.Load(d); repo == "moving" && !ok {
							t.Errorf("a client got the digest %s for moving:v1, want one that the tag has pointed to", d)
						}
						pulls.Add(1)
					}
				}
			})
		}
		const changes = 15
		for n := 1; n <= changes; n++ {
			layouttest.Publish(t, dir, "changing", "v1", fmt.Sprintf("generation-%d", n))
			layouttest.Publish(t, dir, fmt.Sprintf("modules/m%d", n%3), "v1")
			move(t, dir, n, &published)
			before := pulls.Load()
			layouttest.Eventually(t, "64 more pulls after a change", func() bool { return pulls.Load() >= before+64 || t.Failed() })
		}
		cancel()
		clients.Wait()
		generation := func() string {
			t.Helper()
			resp, err := http.Post("http://"+admin+"/reload", "", nil)
			layouttest.Try(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			layouttest.Try(t, err)
			return string(body)
		}
		if first, again := generation(), generation(); first != again {
			t.Errorf("without a change of the sources, the generation is %s, want still %s", again, first)
		}
		http.DefaultClient.CloseIdleConnections()
		layouttest.Eventually(t, "the last change is served", func() bool {
			return registrytest.StatusOf(fmt.Sprintf("http://%s/v2/changing/manifests/generation-%d", registry, changes)) == 200
		})
		if code := registrytest.StatusOf("http://" + admin + "/metrics"); code != 200 {
			t.Errorf("/metrics: got status %d, want 200", code)
		}
		http.DefaultClient.CloseIdleConnections()
		t.Logf("%d pulls during %d changes", pulls.Load(), changes)
	})
}

// move points the tag moving:v1 to a new image. It stores the digest in published first.
func move(t *testing.T, dir string, n int, published *sync.Map) {
	t.Helper()
	l := layouttest.New(t, dir).Layout("moving")
	d := l.Image(layouttest.Image{Name: fmt.Sprint(n), LayerSizes: []int64{100_000}})
	published.Store(d.Digest, true)
	l.Tag(d, "v1")
	l.Write()
}

type puller struct {
	client *http.Client
	base   string
}

func (c *puller) pull(repo string) (digest.Digest, error) {
	tags, _, err := c.get(repo + "/tags/list")
	if err != nil {
		return "", err
	}
	// v1 exists in every generation. Other tags may disappear between the list and the pull.
	if !strings.Contains(string(tags), `"v1"`) {
		return "", fmt.Errorf("%s: the list of tags is %s, want one with v1", repo, tags)
	}
	body, said, err := c.get(repo + "/manifests/v1")
	if err != nil {
		return "", err
	}
	if digest.FromBytes(body) != said {
		return "", fmt.Errorf("%s:v1: got %d bytes, want bytes with the digest %s of the header", repo, len(body), said)
	}
	for _, d := range blobDigests(body) {
		blob, _, err := c.get(repo + "/blobs/" + string(d))
		if err != nil {
			return "", err
		}
		if digest.FromBytes(blob) != d {
			return "", fmt.Errorf("%s: blob %s: got %d bytes, want bytes with this digest", repo, d, len(blob))
		}
	}
	return said, nil
}

func blobDigests(manifest []byte) []digest.Digest {
	var m specs.Manifest
	if json.Unmarshal(manifest, &m) != nil {
		return nil
	}
	all := []digest.Digest{m.Config.Digest}
	for _, l := range m.Layers {
		all = append(all, l.Digest)
	}
	return all
}

func (c *puller) get(path string) ([]byte, digest.Digest, error) {
	resp, err := c.client.Get(c.base + path)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	}
	return body, digest.Digest(resp.Header.Get("Docker-Content-Digest")), nil
}

// insecure returns a client that accepts any certificate and opens a new connection per request.
func insecure(certificates ...tls.Certificate) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, Certificates: certificates},
	}}
}

// If the system has no watches left, the server reports a problem and otherwise works as usual.
func TestNoWatchesLeftIsAProblem(t *testing.T) {
	dir := t.TempDir()
	layouttest.Publish(t, dir, "install", "v1")
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}})
	layouttest.Try(t, err)
	restore := layouttest.LimitFiles(t, 0)
	l := newLiveTree(zap.NewNop(), tree, []string{dir}, time.Hour)
	found := l.problems(t.Context())
	restore()
	if len(found) != 1 || found[0].Kind != layoutstore.Limited || found[0].Path != dir || !strings.Contains(found[0].Reason, "fs.inotify.max_user_watches") {
		t.Errorf("problems are %v, want one of kind limited that names fs.inotify.max_user_watches", found)
	}
	l.watch()
	if found := l.problems(t.Context()); len(found) > 0 {
		t.Errorf("after watches became available again: got the problems %v, want none", found)
	}
}
