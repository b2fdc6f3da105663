package deckhouse_test

import (
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// newIncompleteSource returns a source with three versions of the platform and two modules.
func newIncompleteSource(t *testing.T) *synthetic {
	s := newSynthetic(t)
	for _, v := range []string{"v1.68.1", "v1.69.3", "v1.70.1"} {
		s.build(edition, v, 1)
	}
	for channel, version := range map[string]string{"alpha": "v1.70.1", "beta": "v1.69.3", "early-access": "v1.69.3", "stable": "v1.69.3", "rock-solid": "v1.68.1"} {
		s.channel(edition+"/release-channel", channel, version, false)
	}
	for _, name := range []string{"console", "stronghold"} {
		at := edition + "/modules/" + name
		for _, v := range []string{"v1.0.0", "v1.1.0"} {
			s.member("modules", "release", name, v, map[string]any{"scanner": 3})
		}
		s.channel(at+"/release", "alpha", "v1.1.0", false)
		s.channel(at+"/release", "stable", "v1.0.0", false)
		s.image(at+"/extra/scanner", "3", nil)
		s.image(edition+"/modules", name, nil)
	}
	s.image("deckhouse/installer", "latest", nil)
	s.writeAll()
	return s
}

func (s *synthetic) layerOf(repository string, image digest.Digest) string {
	s.t.Helper()
	body, err := os.ReadFile(filepath.Join(s.tree.Layout(repository).Dir(), "blobs/sha256", image.Encoded()))
	layouttest.Try(s.t, err)
	refs, err := closure.Parse(body)
	layouttest.Try(s.t, err)
	return refs.Blobs[1].Digest.String()
}

// incompleteCase is a test in which a fault of the source makes content incomplete.
type incompleteCase struct {
	fault registrytest.Fault
	// missing are the tags that the bundle must not have, as LAYOUT:TAG separated by spaces.
	// Attestations of these images are missing, too, but are not listed here.
	missing string
	// problems are the expected problems, as "COMPONENT REPOSITORY:TAG" or "COMPONENT
	// REPOSITORY@DIGEST".
	problems []string
}

func incompleteCases(s *synthetic) map[string]incompleteCase {
	const console, scanner = edition + "/modules/console", edition + "/modules/console/extra/scanner"
	internal, declared := s.names["console v1.1.0"][0], s.names["v1.70.1"][0]
	att := s.tags[edition+":"+vex(declared)]
	newest := "install:v1.70.1 install:alpha install-standalone:v1.70.1 release-channel:v1.70.1 release-channel:alpha :v1.70.1 :" + declared.Encoded()
	ofNewest := "platform " + edition + "/release-channel:alpha"
	return map[string]incompleteCase{
		"an extra image":                   {pulltest.Absent(scanner + "/manifests/"), "modules/console/extra/scanner:3", []string{"module console " + scanner + ":3"}},
		"a blob of an extra image":         {pulltest.Absent(scanner + "/blobs/"), "modules/console/extra/scanner:3", []string{"module console " + scanner + ":3"}},
		"a damaged blob of an extra image": {registrytest.Spoil(pulltest.At(scanner+"/blobs/"), registrytest.FlipBit), "modules/console/extra/scanner:3", []string{"module console " + scanner + ":3"}},
		"an internal image":                {pulltest.Absent(console + "/manifests/" + internal.String()), "modules/console:" + internal.Encoded(), []string{"module console " + console + "@" + internal.String()}},
		"a blob of an internal image":      {pulltest.Absent(console + "/blobs/" + s.layerOf(console, internal)), "modules/console:" + internal.Encoded(), []string{"module console " + console + ":" + internal.Encoded()}},
		"a version of a module":            {pulltest.Absent(console + "/manifests/v1.1.0"), "modules/console:v1.1.0 modules/console/release:v1.1.0 modules/console/release:alpha modules/console:" + internal.Encoded(), []string{"module console " + console + ":v1.1.0", "module console " + console + "/release:alpha"}},
		"a module":                         {pulltest.Absent(console + "/"), "modules/console:* modules/console/release:* modules/console/extra/scanner:*", nil},
		"a channel of a module":            {registrytest.Spoil(pulltest.At(console+"/release/manifests/stable"), registrytest.CutHalf), "modules/console/release:stable modules/console:v1.0.0 modules/console/release:v1.0.0 modules/console:" + s.names["console v1.0.0"][0].Encoded(), []string{"module console " + console + "/release:stable"}},
		"a declared image":                 {pulltest.Absent(edition + "/manifests/" + declared.String()), newest, []string{"platform " + edition + "@" + declared.String(), ofNewest}},
		"a blob of a declared image":       {pulltest.Absent(edition + "/blobs/" + s.layerOf(edition, declared)), newest, []string{"platform " + edition + ":" + declared.Encoded(), ofNewest}},
		"an image of the platform":         {pulltest.Absent(edition + "/manifests/v1.70.1"), newest, []string{"platform " + edition + ":v1.70.1", ofNewest}},
		"an install image":                 {pulltest.Absent(edition + "/install/manifests/v1.70.1"), newest, []string{"platform " + edition + "/install:v1.70.1", ofNewest}},
		"an attestation":                   {pulltest.Absent(edition + "/blobs/" + s.layerOf(edition, att)), ":" + vex(declared), []string{"platform " + edition + ":" + vex(declared)}},
		"a standalone installer":           {pulltest.Absent(edition + "/install-standalone/blobs/" + s.layerOf(edition+"/install-standalone", s.tags[edition+"/install-standalone:v1.70.1"])), "install-standalone:v1.70.1", []string{"platform " + edition + "/install-standalone:v1.70.1"}},
		"a blob of the installer":          {pulltest.Absent("deckhouse/installer/blobs/"), "installer:latest", []string{"installer deckhouse/installer:latest"}},
		"images of two components":         {pulltest.Absent(scanner+"/manifests/", edition+"/modules/stronghold/extra/scanner/blobs/"), "modules/console/extra/scanner:3 modules/stronghold/extra/scanner:3", []string{"module console " + scanner + ":3", "module stronghold " + edition + "/modules/stronghold/extra/scanner:3"}},
	}
}

// If a bundle may be incomplete, a pull publishes all complete content. It lists each missing image
// once, with its component. If the bundle must be complete, the pull publishes nothing, and lists
// all missing content.
func TestIncompleteSources(t *testing.T) {
	s := newIncompleteSource(t)
	good, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, good, edition)
	selection := deckhouse.Selection{NoSecurityDB: true, NoPackages: true}
	o.Planner = selecting(selection)
	pulltest.Run(t, o)
	full := pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir))
	for name, test := range incompleteCases(s) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := pulltest.Serve(t, s.tree.Dir())
			r.Inject(test.fault)
			o := options(t, r, edition)
			o.Planner = selecting(selection)
			if name != "a module" { // if a module is missing, no versions are found, which is not an error
				_, err := pull.Run(t.Context(), o, nil)
				var incomplete *pull.IncompleteError
				if !errors.As(err, &incomplete) || !incomplete.IsOptional() {
					t.Fatalf("got error %v, want an *IncompleteError with only optional content", err)
				}
				// The error does not list channels that point at a missing version.
				for _, h := range test.problems {
					name := h[strings.LastIndex(h, " ")+1:]
					repository := name[:strings.IndexAny(name, ":@")]
					if !strings.HasSuffix(name, ":alpha") && !strings.Contains(err.Error(), repository) {
						t.Errorf("got error %v, want one that lists %s", err, h)
					}
				}
				pulltest.NothingPublished(t, o.Dir)
			}
			forms := []bool{false}
			if name == "a blob of an extra image" || os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
				forms = []bool{false, true} // test both archives and a tree
			}
			for _, tree := range forms {
				o.Dir, o.Tree, o.AllowIncomplete = t.TempDir(), tree, true
				report := pulltest.Run(t, o)
				if diff := cmp.Diff(slices.Sorted(slices.Values(test.problems)), pulltest.Named(report.Problems)); diff != "" {
					t.Errorf("problems: %s", diff)
				}
				got := pulltest.OpenAt(t, edition, o.Dir)
				pulltest.Intact(t, got)
				pulltest.ProveAll(t, got)
				if diff := cmp.Diff(without(full, test.missing), pulltest.Listed(t, got)); diff != "" {
					t.Errorf("tags of the bundle (tree: %t, -want +got): %s", tree, diff)
				}
			}
		})
	}
}

// without returns all tags except the missing ones. Missing tags are written as LAYOUT:TAG, or
// LAYOUT:* for all tags of a layout.
func without(all map[string]string, missing string) map[string]string {
	all = maps.Clone(all)
	for _, name := range strings.Fields(missing) {
		layout, tag, _ := strings.Cut(name, ":")
		repository := strings.TrimSuffix(edition+"/"+layout, "/")
		if tag == "*" {
			maps.DeleteFunc(all, func(key, _ string) bool { return strings.HasPrefix(key, repository+":") })
			continue
		}
		delete(all, repository+":"+tag)
		delete(all, repository+":sha256-"+tag+".att")
	}
	return all
}

// If required content is missing, a pull fails even if a bundle may be incomplete. The error lists
// all missing content. If incomplete bundles are allowed, the error also says why some content is
// required.
func TestRequiredContent(t *testing.T) {
	s := newIncompleteSource(t)
	other := edition + "/modules/console/extra/scanner"
	for name, test := range map[string]struct {
		missing string
		change  func(*deckhouse.Selection)
		want    []string
	}{
		"a release channel":         {edition + "/release-channel/manifests/beta", func(*deckhouse.Selection) {}, []string{"release-channel:beta", "say which versions belong to the bundle"}},
		"a build selected by tag":   {edition + "/manifests/" + s.names["v1.69.3"][0].String(), func(s *deckhouse.Selection) { s.DeckhouseTag = "v1.69.3" }, []string{s.names["v1.69.3"][0].String(), "asked for by name"}},
		"a channel selected by tag": {edition + "/release-channel/manifests/stable", func(s *deckhouse.Selection) { s.DeckhouseTag = "stable" }, []string{"release-channel:stable", "asked for by name"}},
		"an installer":              {"deckhouse/installer/manifests/v9", func(s *deckhouse.Selection) { s.InstallerTag = "v9" }, []string{"deckhouse/installer:v9", "asked for by name"}},
		"a d8 program":              {"deckhouse/deckhouse-cli/manifests/v9", func(s *deckhouse.Selection) { s.DeckhouseCLITag = "v9" }, []string{"deckhouse/deckhouse-cli:v9", "asked for by name"}},
		"a plugin":                  {"deckhouse/deckhouse-cli/plugins/x/", func(s *deckhouse.Selection) { s.IncludePlugins = []string{"x"} }, []string{"deckhouse-cli/plugins/x", "asked for by name"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := pulltest.Serve(t, s.tree.Dir())
			r.Inject(pulltest.Absent(test.missing, other+"/manifests/"))
			for _, allowed := range []bool{true, false} {
				o := options(t, r, edition)
				selection := deckhouse.Selection{NoSecurityDB: true, NoPackages: true}
				test.change(&selection)
				o.Planner = selecting(selection)
				o.AllowIncomplete = allowed
				_, err := pull.Run(t.Context(), o, nil)
				var incomplete *pull.IncompleteError
				if !errors.As(err, &incomplete) {
					t.Fatal(err)
				}
				for i, words := range append(slices.Clone(test.want), other+":3: missing") {
					if (allowed || i != 1) && !strings.Contains(err.Error(), words) {
						t.Errorf("AllowIncomplete %t: got error %v, want one that contains %q", allowed, err, words)
					}
				}
				pulltest.NothingPublished(t, o.Dir)
			}
		})
	}
}

// A plugin that the user names is required as a whole. If its layer is missing, a pull fails, even if a bundle
// may be incomplete. A plugin that a module needs is left out instead.
func TestPluginWithoutItsLayer(t *testing.T) {
	s := newSynthetic(t)
	const at = "deckhouse/deckhouse-cli/plugins"
	contract := base64.StdEncoding.EncodeToString([]byte(`{"requirements":{"modules":{"mandatory":[{"name":"console"}]}}}`))
	s.tag(at+"/tool", s.multi(at+"/tool", "tool", map[string]string{"contract": contract}), "v1.0.0")
	s.image(at, "tool", nil)
	s.member("modules", "release", "console", "v1.0.0", nil)
	s.channel(edition+"/modules/console/release", "stable", "v1.0.0", false)
	s.image(edition+"/modules", "console", nil)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	r.Inject(pulltest.Absent(at + "/tool/blobs/"))
	o := options(t, r, edition)
	o.AllowIncomplete = true
	o.Planner = selecting(only(func(s *deckhouse.Selection) {
		s.IncludeModules, s.IncludePlugins = []string{"console"}, []string{"tool"}
	}))
	_, err := pull.Run(t.Context(), o, nil)
	var incomplete *pull.IncompleteError
	if !errors.As(err, &incomplete) || !strings.Contains(err.Error(), "plugins/tool:v1.0.0") || !strings.Contains(err.Error(), "asked for by name") {
		t.Errorf("with the plugin named, got error %v, want an *IncompleteError that says that the plugin was asked for by name", err)
	}
	pulltest.NothingPublished(t, o.Dir)
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.IncludeModules = []string{"console"} }))
	report := pulltest.Run(t, o)
	if diff := cmp.Diff([]string{"plugin tool " + at + "/tool:v1.0.0"}, pulltest.Named(report.Problems)); diff != "" {
		t.Errorf("without the plugin named: problems: %s", diff)
	}
}

// If a request is refused or fails, the content may still exist. So the pull fails even if a bundle
// may be incomplete.
func TestFailedRequestsAreNotMissingContent(t *testing.T) {
	s := newIncompleteSource(t)
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError} {
		for _, path := range []string{edition + "/modules/console/extra/scanner/manifests/", edition + "/modules/console/extra/scanner/blobs/"} {
			r, _ := pulltest.Serve(t, s.tree.Dir())
			r.Inject(registrytest.Answer(pulltest.At(path), status))
			o := options(t, r, edition)
			c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, Retries: -1})
			layouttest.Try(t, err)
			o.Registry, o.Planner, o.AllowIncomplete = c, selecting(only(func(s *deckhouse.Selection) { s.NoModules = false })), true
			_, err = pull.Run(t.Context(), o, nil)
			c.Close()
			var failed *client.Error
			var incomplete *pull.IncompleteError
			if !errors.As(err, &failed) || errors.As(err, &incomplete) || failed.Status != status {
				t.Errorf("status %d: got error %v, want a *client.Error with this status, and no *IncompleteError", status, err)
			}
			pulltest.NothingPublished(t, o.Dir)
		}
	}
}

// Images of the source list tags that are malformed, so that registries refuse to look for them. A pull reports
// the tags like missing ones, and can leave them out.
func TestMalformedTags(t *testing.T) {
	const console = edition + "/modules/console"
	s := newSynthetic(t)
	s.member("modules", "release", "console", "v1.0.0", map[string]any{"scanner": "not a tag"})
	s.channel(console+"/release", "stable", "v1.0.0", false)
	s.channel(console+"/release", "alpha", "v1 0", false)
	s.image(edition+"/modules", "console", nil)
	s.image(edition, "pr42", nil)
	s.image(edition+"/install", "pr42", map[string]string{"deckhouse/candi/images_tags.json": jsonOf(map[string]any{"m": map[string]string{"old": "two\nlines"}})})
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Planner, o.AllowIncomplete = selecting(only(func(s *deckhouse.Selection) { s.NoModules = false })), true
	report := pulltest.Run(t, o)
	want := []string{"module console " + console + "/extra/scanner:not a tag", "module console " + console + "/release:alpha"}
	if diff := cmp.Diff(want, pulltest.Named(report.Problems)); diff != "" {
		t.Errorf("problems: %s", diff)
	}
	got := pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir))
	for _, tag := range []string{console + ":v1.0.0", console + "/release:v1.0.0", console + "/release:stable"} {
		if got[tag] != s.tags[tag].String() {
			t.Errorf("digest of %s in the bundle = %q, want %s", tag, got[tag], s.tags[tag])
		}
	}
	o.Dir, o.Planner = t.TempDir(), selecting(only(func(s *deckhouse.Selection) { s.NoPlatform, s.DeckhouseTag = false, "pr42" }))
	_, err := pull.Run(t.Context(), o, nil)
	var incomplete *pull.IncompleteError
	if !errors.As(err, &incomplete) || !strings.Contains(err.Error(), `malformed tag "two\nlines"`) || strings.Contains(err.Error(), "two\nlines") {
		t.Errorf("pull of a platform whose installer lists a malformed tag: got error %v, want an *IncompleteError that quotes the tag", err)
	}
	pulltest.NothingPublished(t, o.Dir)
}

// If no image is complete, a pull fails and publishes nothing.
func TestPullWithoutAnyCompleteImage(t *testing.T) {
	s := newIncompleteSource(t)
	r, _ := pulltest.Serve(t, s.tree.Dir())
	r.Inject(registrytest.Answer(registrytest.On("GET blobs"), http.StatusNotFound))
	o := options(t, r, "deckhouse")
	o.Planner, o.AllowIncomplete = pull.Repositories{Paths: []string{"installer"}}, true
	_, err := pull.Run(t.Context(), o, nil)
	var incomplete *pull.IncompleteError
	if !errors.As(err, &incomplete) || len(incomplete.Problems) != 1 {
		t.Error(err)
	}
	pulltest.NothingPublished(t, o.Dir)
}

// Images in two repositories have the same layer, but one repository does not have the layer's content. A pull
// reports only that repository, even if it reads the other one first.
func TestLayersMissingInOneRepository(t *testing.T) {
	s := newSynthetic(t)
	for _, name := range []string{"console", "stronghold"} {
		at := edition + "/modules/" + name
		l := s.tree.Layout(at)
		for _, v := range []string{"v1.0.0", "v1.1.0"} { // both versions have the same layer, but different configs
			s.tag(at, l.Image(layouttest.Image{Name: name + v, Layers: [][]byte{layouttest.TarOf(t, "images_digests.json", "{}")}}), v)
			s.channel(at+"/release", v, v, false)
		}
		s.channel(at+"/release", "alpha", "v1.1.0", false)
		s.channel(at+"/release", "stable", "v1.0.0", false)
		s.image(edition+"/modules", name, nil)
	}
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	const console = edition + "/modules/console"
	shared := s.layerOf(console, s.tags[console+":v1.0.0"])
	r.Inject(pulltest.Absent(console + "/blobs/" + shared))
	for range 5 {
		o := options(t, r, edition)
		o.Planner, o.AllowIncomplete = selecting(only(func(s *deckhouse.Selection) { s.NoModules = false })), true
		report := pulltest.Run(t, o)
		for _, p := range report.Problems {
			if !strings.HasPrefix(p.Repository, console) || strings.Contains(p.Reason, "stronghold") {
				t.Errorf("got the problem %s, want only problems about the module console", p)
			}
		}
		got := pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir))
		if got[edition+"/modules/stronghold:v1.0.0"] == "" || got[edition+"/modules/stronghold/release:stable"] == "" {
			t.Errorf("the bundle has the tags %v, want stronghold:v1.0.0 and stronghold/release:stable among them", got)
		}
	}
}
