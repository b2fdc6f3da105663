package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// pull pulls an image for all platforms with containerd's library, and returns its content.
func pull(t *testing.T, resolver remotes.Resolver, reference string, want digest.Digest) contents {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	name, d, err := resolver.Resolve(ctx, reference)
	must(t, err)
	if d.Digest != want {
		t.Fatalf("%s: the tag resolves to %s, want %s", reference, d.Digest, want)
	}
	fetcher, err := resolver.Fetcher(ctx, name)
	must(t, err)
	dir := t.TempDir()
	store, err := local.NewStore(dir)
	must(t, err)
	handlers := images.Handlers(remotes.FetchHandler(store, fetcher), images.ChildrenHandler(store))
	if err := images.Dispatch(ctx, handlers, nil, d); err != nil {
		t.Fatalf("%s: %v", reference, err)
	}
	return contentOf(t, layout(dir), d.Digest) // the content store has the same paths as a layout
}

// comparePulled fails the test unless a client pulled the right content for an image of the sample.
func comparePulled(t *testing.T, i image, got contents) {
	t.Helper()
	if i.discovery() {
		checkDiscovery(t, i, got)
	} else {
		contentOf(t, i.layout(), i.digest).compare(t, i.name(), got)
	}
}

// direct returns a resolver without a mirror: it sends requests to the registry in the reference.
func direct() remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost)),
	})
}

func TestContainerdPulls(t *testing.T) {
	s := serve(t, bundleDir)
	for _, i := range sample(t) {
		comparePulled(t, i, pull(t, direct(), i.reference(s), i.digest))
	}
}

// TestContainerdPullsFromAMirror configures the server in hosts.toml, as a mirror below a path.
// containerd must never send a request to the mirrored registry.
func TestContainerdPullsFromAMirror(t *testing.T) {
	s := serve(t, bundleDir)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		t.Errorf("containerd sent a request to the mirrored registry: %s %s", req.Method, req.URL)
		http.NotFound(w, req)
	}))
	defer upstream.Close()
	hosts := t.TempDir()
	layouttest.WriteFile(t, filepath.Join(hosts, "registry.example", "hosts.toml"),
		fmt.Sprintf("server = %q\n[host.%q]\ncapabilities = [\"pull\", \"resolve\"]\noverride_path = true\n", upstream.URL, "http://"+s.registry+"/mirrors/a/v2"))

	for _, i := range sample(t) {
		resolver := docker.NewResolver(docker.ResolverOptions{
			Hosts: config.ConfigureHosts(t.Context(), config.HostOptions{HostDir: config.HostDirFromRoot(hosts)}),
		})
		comparePulled(t, i, pull(t, resolver, "registry.example/"+i.name(), i.digest))
	}
}

// TestContainerdFetchesReferrers fetches the only referrer of an image, an untagged manifest.
func TestContainerdFetchesReferrers(t *testing.T) {
	s := serve(t, bundleDir)
	i := pick(t, sample(t), installer)
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	fetcher, err := direct().Fetcher(ctx, i.reference(s))
	must(t, err)
	got, err := fetcher.(remotes.ReferrersFetcher).FetchReferrers(ctx, i.digest)
	if err != nil || len(got) != 1 || got[0].Digest != sbom {
		t.Errorf("got referrers %+v and error %v, want only %s", got, err, sbom)
	}
}

// TestContainerdPullsInRanges pulls a layer in parts. containerd requests several parts
// concurrently, and closes each connection after one part.
func TestContainerdPullsInRanges(t *testing.T) {
	dir := t.TempDir()
	large := layouttest.New(t, dir).Layout("large")
	d := large.Image(layouttest.Image{Name: "large", LayerSizes: []int64{5<<20 + 1, 3 << 20, 1}})
	large.Tag(d, "v1")
	large.Write()
	s := serve(t, dir, "--root-repository", "")

	var ranges atomic.Int64
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(
			docker.WithPlainHTTP(docker.MatchLocalhost),
			docker.WithClient(&http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err == nil && resp.StatusCode == http.StatusPartialContent {
					ranges.Add(1)
				}
				return resp, err
			})}),
		),
	})
	resolver.(remotes.ResolverWithOptions).SetOptions(transfer.WithConcurrentLayerFetchBuffer(512<<10), transfer.WithMaxConcurrentDownloads(4))
	got := pull(t, resolver, s.registry+"/large:v1", d.Digest)
	contentOf(t, layout(large.Dir()), d.Digest).compare(t, "large:v1", got)
	if n := ranges.Load(); n < 8 {
		t.Errorf("containerd requested %d ranges, want at least 8", n)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
