package deckhouse_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// A search for versions ends even if the registry claims to have every tag.
func TestVersionsWithoutEnd(t *testing.T) {
	s := standard(t)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	r.Inject(func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
		if q.Method != http.MethodHead || !strings.Contains(q.URL.Path, "/manifests/v") {
			return false
		}
		w.Header().Set("Content-Type", specs.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", digest.FromString(q.URL.Path).String())
		w.Header().Set("Content-Length", "2")
		return true
	})
	o := options(t, r, edition)
	o.Planner = selecting(only(func(s *deckhouse.Selection) {
		s.NoPlatform, s.ProxyRegistry, s.IncludePlatform = false, true, ">=1.68"
	}))
	_, err := pull.Dry(t.Context(), o, nil)
	if err == nil || !strings.Contains(err.Error(), "gave up after trying 5000 versions, up to v1.68.5000") || !strings.Contains(err.Error(), "=vX.Y.Z") {
		t.Error(err)
	}
}

// If an older archive contains a damaged image, a pull repairs it and does not report the source as
// damaged.
func TestDamagedInstallerInOlderArchive(t *testing.T) {
	s := platformOnly(t)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.NoPlatform, s.DeckhouseTag = false, "v1.68.1" }))
	pulltest.Run(t, o)
	archive := filepath.Join(o.Dir, "platform.tar")
	want, err := os.ReadFile(archive)
	layouttest.Try(t, err)
	data := bytes.Clone(want)
	changed := 0
	for _, p := range layouttest.Places(t, archive) {
		if body := want[p.Body:p.End]; strings.Contains(p.Name, "blobs/") && bytes.Contains(body, []byte("os-release")) {
			data[p.Body+int64(bytes.Index(body, []byte("os-release")))+600] ^= 1
			changed++
		}
	}
	if changed == 0 {
		t.Fatal("no archive has an uncompressed layer of an installer, want one to damage")
	}
	layouttest.Try(t, os.WriteFile(archive, data, 0o644))
	r.Forget()
	if _, err := pull.Dry(t.Context(), o, nil); err != nil {
		t.Error(err)
	}
	pulltest.Run(t, o)
	if got, err := os.ReadFile(archive); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the new archive differs from the one before the damage, want identical bytes; error %v", err)
	}
}

// An interrupted pull leaves a layer whose content is damaged, for example after a power cut. The next pull
// fetches the layer again, and does not report the source as damaged.
func TestDamagedLayerOfInterruptedPull(t *testing.T) {
	s := platformOnly(t)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	failing := pulltest.At(edition + "/blobs/")
	var repaired atomic.Bool
	r.Inject(registrytest.Answer(func(q *http.Request) bool { return !repaired.Load() && failing(q) }, http.StatusInternalServerError))
	o := options(t, r, edition)
	c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, Retries: -1})
	layouttest.Try(t, err)
	defer c.Close()
	o.Registry = c
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.NoPlatform, s.DeckhouseTag = false, "v1.68.1" }))
	if _, err := pull.Run(t.Context(), o, nil); err == nil {
		t.Fatal("the pull succeeded, want it to be interrupted")
	}
	layer := s.layerOf(edition+"/install", s.tags[edition+"/install:v1.68.1"])
	name := filepath.Join(o.Dir, ".tmp/layoutproxy/blobs", strings.Replace(layer, ":", "-", 1))
	info, err := os.Stat(name)
	layouttest.Try(t, err)
	pulltest.Flip(t, name, info.Size()/2)
	repaired.Store(true)
	pulltest.Run(t, o)
	pulltest.ProveAll(t, pulltest.OpenAt(t, edition, o.Dir))
}

// If a request for content is refused or fails, the pull fails with this error. It does not report
// the content as missing.
func TestFailedRequestsOfEachComponent(t *testing.T) {
	s := newSynthetic(t)
	s.build(edition, "v1.0.0", 1)
	for _, channel := range []string{"alpha", "beta", "early-access", "stable", "rock-solid"} {
		s.channel(edition+"/release-channel", channel, "v1.0.0", false)
	}
	s.writeAll()
	for what, path := range map[string]string{
		"the tags of modules":      edition + "/modules/tags/list",
		"the tags of packages":     edition + "/packages/tags/list",
		"the channel lts":          edition + "/release-channel/manifests/lts",
		"the databases":            edition + "/security/trivy-db/manifests/2",
		"the installer":            "deckhouse/installer/manifests/latest",
		"the standalone installer": edition + "/install-standalone/manifests/v1.0.0",
		"attestations":             edition + "/manifests/sha256-",
		"referrers":                edition + "/referrers/",
		"a manifest":               edition + "/manifests/sha256:",
		"a blob":                   edition + "/blobs/",
	} {
		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable} {
			if what == "referrers" && status != http.StatusTooManyRequests {
				continue // see TestRefusedReferrers
			}
			t.Run(fmt.Sprintf("%s: %d", what, status), func(t *testing.T) {
				t.Parallel()
				r, _ := pulltest.Serve(t, s.tree.Dir())
				// If tags cannot be listed, the pull requests attestations one by one.
				if what == "attestations" {
					r.Inject(registrytest.Answer(func(q *http.Request) bool { return q.URL.Path == "/v2/"+edition+"/tags/list" }, http.StatusForbidden))
				}
				r.Inject(registrytest.Answer(func(q *http.Request) bool { return strings.HasPrefix(q.URL.Path, "/v2/"+path) }, status, "Retry-After: 0"))
				o := options(t, r, edition)
				c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, Retries: -1})
				layouttest.Try(t, err)
				defer c.Close()
				o.Registry = c
				_, err = pull.Run(t.Context(), o, nil)
				var failed *client.Error
				var incomplete *pull.IncompleteError
				if !errors.As(err, &failed) || errors.As(err, &incomplete) || failed.Status != status {
					t.Errorf("got error %v, want a *client.Error with status %d, and no *IncompleteError", err, status)
				}
				pulltest.NothingPublished(t, o.Dir)
			})
		}
	}
}

// If the registry refuses to list tags, a pull requests the attestations one by one.
func TestRefusedTagLists(t *testing.T) {
	s := platformOnly(t)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	r.Inject(registrytest.Answer(registrytest.On("GET tags"), http.StatusForbidden))
	o := options(t, r, edition)
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.NoPlatform, s.DeckhouseTag = false, "v1.68.1" }))
	pulltest.Run(t, o)
	if got := pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir)); got[edition+":"+vex(s.names["v1.68.1"][0])] == "" {
		t.Errorf("the bundle has the tags %v, want the attestation of v1.68.1 among them", got)
	}
}

func isPull(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Path != "/v2/" }

// A pull and a dry run have the right result even if the first two responses to each request are
// damaged. This includes files that are read from layers.
func TestDamagedResponses(t *testing.T) {
	s := platformOnly(t)
	s.member("modules", "release", "console", "v1.0.0", map[string]any{"scanner": 3})
	s.channel(edition+"/modules/console/release", "stable", "v1.0.0", false)
	s.image(edition+"/modules/console/extra/scanner", "3", nil)
	s.image(edition+"/modules", "console", nil)
	s.writeAll()
	selection := only(func(s *deckhouse.Selection) { s.NoPlatform, s.NoModules, s.IgnoreSuspend = false, false, true })
	good, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, good, edition)
	o.Planner = selecting(selection)
	pulltest.Run(t, o)
	want := pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir))
	for name, spoil := range map[string]func([]byte) []byte{"a bit": registrytest.FlipBit, "one half cut off": registrytest.CutHalf} {
		t.Run(name, func(t *testing.T) {
			wrong := func(r *http.Request) bool {
				// A changed name in a list of tags cannot be detected by a checksum.
				return isPull(r) && !(name == "a bit" && registrytest.On("GET tags")(r))
			}
			clock := &pulltest.NoPauses{}
			source := func() pull.Options {
				r, _ := pulltest.Serve(t, s.tree.Dir())
				r.Inject(registrytest.Spoil(pulltest.Each(2, wrong), spoil))
				o := options(t, r, edition)
				c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, Retries: -1, Clock: clock})
				layouttest.Try(t, err)
				t.Cleanup(c.Close)
				o.Registry, o.Planner = c, selecting(selection)
				return o
			}
			plan, err := pull.Dry(t.Context(), source(), nil)
			layouttest.Try(t, err)
			if n := plan.Images(); n != len(want) {
				t.Errorf("the dry run plans %d images, want %d", n, len(want))
			}
			o := source()
			pulltest.Run(t, o)
			got := pulltest.OpenAt(t, edition, o.Dir)
			if diff := cmp.Diff(want, pulltest.Listed(t, got)); diff != "" {
				t.Error(diff)
			}
			pulltest.ProveAll(t, got)
			if clock.Pauses() == 0 {
				t.Error("the client paused 0 times between retries, want at least once")
			}
		})
	}
}
