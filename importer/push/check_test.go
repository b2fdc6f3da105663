package push_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// storage is the root directory of distribution's filesystem driver. The paths in it are defined in
// distribution, registry/storage/paths.go.
type storage string

func (s storage) blob(d digest.Digest) string {
	return filepath.Join(string(s), "docker/registry/v2/blobs/sha256", d.Encoded()[:2], d.Encoded())
}

func (s storage) link(repository string, d digest.Digest) string {
	return filepath.Join(string(s), "docker/registry/v2/repositories", repository, "_layers/sha256", d.Encoded())
}

func lose(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// A registry that has lost blobs still has their manifests. A comparison reports the lost blobs,
// but only a push with CheckBlobs sends them again.
func TestLostBlobsAreSentAgain(t *testing.T) {
	t.Parallel()
	shared, one := digest.FromString("a layer that several repositories have"), digest.FromString("one")
	for name, test := range map[string]struct {
		lose             func(t *testing.T, s storage, c *client.Client)
		differences      int
		sent, mounted    int
		relisted, tagged int
	}{
		"a blob that several repositories share": {func(t *testing.T, s storage, _ *client.Client) { lose(t, s.blob(shared)) }, 3, 1, 2, 0, 0},
		"two blobs": {func(t *testing.T, s storage, _ *client.Client) {
			lose(t, s.blob(one))
			lose(t, s.blob(digest.FromString("alpha")))
		}, 2, 2, 0, 0, 0},
		"the link from one repository to a blob": {func(t *testing.T, s storage, _ *client.Client) {
			lose(t, s.link("mirror/ee/modules/beta", shared))
		}, 1, 0, 1, 0, 0},
		"the layer of a child": {func(t *testing.T, s storage, _ *client.Client) { lose(t, s.blob(one)) }, 1, 1, 0, 0, 0},
		"all layers of a repository": {func(t *testing.T, s storage, _ *client.Client) {
			lose(t, filepath.Dir(s.link("mirror/ee/modules/alpha", shared)))
		}, 5, 3, 2, 0, 0}, // other repositories still have two of these layers
		"a list of referrers": {func(t *testing.T, _ storage, c *client.Client) {
			tags, err := c.Tags(t.Context(), "mirror/ee/modules/alpha")
			if err != nil {
				t.Fatal(err)
			}
			for _, tag := range tags {
				if strings.HasPrefix(tag, "sha256-") {
					remove(t, "http://"+c.Registry()+"/v2/mirror/ee/modules/alpha/manifests/"+tag)
				}
			}
		}, 1, 0, 0, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := newSetup(t, registrytest.Options{Dir: dir}, push.Selection{})
			s.mustPush(t)
			test.lose(t, storage(dir), s.client)
			c, err := push.Compare(t.Context(), s.client, s.plan, 4)
			if err != nil || len(c.Differences) != test.differences || !c.NeedsCheck {
				t.Fatalf("the comparison found %+v, error %v; want %d differences, and NeedsCheck", c, err, test.differences)
			}
			if summary, err := s.push(t.Context()); err != nil || summary.Written() {
				t.Fatalf("a push without CheckBlobs: got summary %+v, error %v; want that it writes nothing", summary, err)
			}
			s.check = true
			summary := s.mustPush(t)
			if summary.Blobs.Pushed != test.sent || summary.Blobs.Mounted != test.mounted || summary.Manifests.Pushed != 0 || summary.Tags.Pushed != 0 ||
				summary.Relisted != test.relisted || summary.ReferrersTags != test.tagged {
				t.Errorf("%+v", summary)
			}
			summary = s.mustPush(t)
			var text strings.Builder
			if err := summary.WriteText(&text); err != nil || summary.Written() || !strings.Contains(text.String(), "blobs that they need") {
				t.Errorf("%+v, %v", text.String(), err)
			}
		})
	}
}

func remove(t *testing.T, url string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
}

// If a repository already has a blob of the pushed image from a different image, a push does not
// send the blob again.
func TestBlobsOfOtherImagesAreNotSentAgain(t *testing.T) {
	t.Parallel()
	s := newSetup(t, registrytest.Options{}, push.Selection{})
	s.mustPush(t)
	remove(t, s.registry.URL+"/v2/mirror/ee/modules/alpha/manifests/"+digestOf(t, s, "mirror/ee/modules/alpha", "signature"))
	s.registry.Forget()
	if summary := s.mustPush(t); summary.Blobs.Pushed != 0 || summary.Manifests.Pushed != 1 {
		t.Errorf("%+v", summary)
	}
}

func digestOf(t *testing.T, s *setup, repository, tag string) string {
	t.Helper()
	d, err := s.client.HeadManifest(t.Context(), repository, tag)
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest.String()
}

// If a registry acknowledges content but does not store it, a push reports this content, whatever
// the kind of request. The next push sends it again.
func TestAcknowledgedButNotStored(t *testing.T) {
	t.Parallel()
	acknowledge := func(m registrytest.Match, status int) registrytest.Fault {
		return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if !m(r) {
				return false
			}
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(status)
			return true
		}
	}
	// The registry of this test has each blob in every repository. claimMounts makes it claim
	// mounts, and then hide the blobs that it claims to have mounted.
	var mounted sync.Map
	mounts := registrytest.Nth(3, 1000, func(r *http.Request) bool { return r.FormValue("mount") != "" }) // the first two mounts belong to the preflight
	claimMounts := func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if mounts(r) {
			mounted.Store(strings.TrimSuffix(r.URL.Path, "uploads/")+r.FormValue("mount"), true)
			w.WriteHeader(http.StatusCreated)
			return true
		}
		if _, ok := mounted.Load(r.URL.Path); ok {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	}
	for name, test := range map[string]struct {
		fault registrytest.Fault
		want  func(push.Difference) bool
	}{
		"blobs":              {acknowledge(registrytest.On("PUT uploads"), 201), func(d push.Difference) bool { return d.Reference == d.Digest.String() }},
		"one blob":           {acknowledge(registrytest.Nth(5, 5, registrytest.On("PUT uploads")), 201), func(d push.Difference) bool { return d.Reference == d.Digest.String() }},
		"mounts":             {claimMounts, func(d push.Difference) bool { return d.Reference == d.Digest.String() }},
		"tags":               {acknowledge(func(r *http.Request) bool { return r.Method == "PUT" && strings.HasSuffix(r.URL.Path, "/stable") }, 201), func(d push.Difference) bool { return d.Reference == "stable" }},
		"lists of referrers": {acknowledge(func(r *http.Request) bool { return r.Method == "PUT" && strings.Contains(r.URL.Path, "/sha256-") }, 201), func(d push.Difference) bool { return strings.HasPrefix(d.Reference, "sha256-") }},
	} {
		t.Run(name, func(t *testing.T) {
			// Do not use distribution here, because it refuses manifests without their blobs.
			s := newSetup(t, registrytest.Options{Handler: registry.New(registry.Logger(quiet()))}, push.Selection{})
			s.registry.Inject(test.fault)
			s.dial(t, func(o *client.Options) { o.Retries = 1 })
			summary, err := s.push(t.Context())
			var unproven *push.ProofError
			if !errors.As(err, &unproven) || summary.Complete {
				t.Fatalf("%+v, %v", summary, err)
			}
			var text strings.Builder
			if err := summary.WriteText(&text); err != nil || len(summary.Differences) != len(unproven.Differences) || !strings.Contains(text.String(), unproven.Differences[0].String()) ||
				strings.Contains(text.String(), " more: --output json") != (len(unproven.Differences) > 20) {
				t.Errorf("%v\n%s", err, text.String())
			}
			for _, d := range unproven.Differences {
				if d.Kind != push.Missing || !test.want(d) {
					t.Errorf("%v", d)
				}
			}
			if n := s.registry.Kinds()["HEAD blobs"]; n < summary.Blobs.Pushed+summary.Blobs.Mounted {
				t.Errorf("the push proved blobs with %d HEAD requests, want at least one per pushed or mounted blob; summary %+v", n, summary)
			}
			s.registry.Heal()
			s.dial(t)
			s.mustPush(t) // this push uses the state of the first push
		})
	}
}

// If a registry has a manifest by its tag but not by its digest, a comparison reports a difference.
func TestManifestsMissingByDigest(t *testing.T) {
	t.Parallel()
	s := newSetup(t, registrytest.Options{}, push.Selection{})
	s.mustPush(t)
	d := digestOf(t, s, "mirror/ee/modules/alpha", "v1.0.0")
	s.registry.Inject(registrytest.Answer(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, d) }, 404))
	c, err := push.Compare(t.Context(), s.client, s.plan, 4)
	if err != nil || len(c.Differences) != 1 || c.Differences[0].Reference != d {
		t.Errorf("%+v, %v", c, err)
	}
}
