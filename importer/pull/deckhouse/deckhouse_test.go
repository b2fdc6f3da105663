package deckhouse_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// platformOnly returns a source that has only a platform with three versions. The release channel
// stable is suspended.
func platformOnly(t *testing.T) *synthetic {
	s := newSynthetic(t)
	for _, v := range []string{"v1.68.1", "v1.69.3", "v1.70.1"} {
		s.build(edition, v, 1)
	}
	for channel, version := range map[string]string{"alpha": "v1.70.1", "beta": "v1.70.1", "early-access": "v1.70.1", "stable": "v1.69.3", "rock-solid": "v1.68.1"} {
		s.channel(edition+"/release-channel", channel, version, channel == "stable")
	}
	return s
}

// pulled pulls a selection, and fails the test unless the bundle has exactly the wanted tags.
func pulled(t *testing.T, s *synthetic, selection deckhouse.Selection, want string) {
	t.Helper()
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Planner = selecting(selection)
	pulltest.Run(t, o)
	got := pulltest.OpenAt(t, edition, o.Dir)
	pulltest.Intact(t, got)
	if diff := cmp.Diff(s.wanted(want), pulltest.Listed(t, got)); diff != "" {
		t.Error(diff)
	}
}

// If a pull needs a suspended channel, it fails, and the error names the channel. Other pulls
// ignore the suspension.
func TestSuspendedChannels(t *testing.T) {
	s := platformOnly(t)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	for name, refused := range map[string]deckhouse.Selection{
		"all":                   {},
		"the channel":           {DeckhouseTag: "stable"},
		"its version":           {DeckhouseTag: "v1.69.3"},
		"in a range":            {IncludePlatform: "~1.69.0"},
		"since a lower version": {SinceVersion: "1.69"},
	} {
		o := options(t, r, edition)
		o.Planner = selecting(refused)
		var suspended *deckhouse.SuspendedError
		if _, err := pull.Run(t.Context(), o, nil); !errors.As(err, &suspended) || !cmp.Equal(suspended.Channels, []string{"stable"}) {
			t.Errorf("%s: got error %v, want a *SuspendedError about the channel stable", name, err)
		}
		pulltest.NothingPublished(t, o.Dir)
	}
	pulled(t, s, deckhouse.Selection{DeckhouseTag: "alpha"}, build("v1.70.1")+pinned("alpha", "v1.70.1"))
	pulled(t, s, deckhouse.Selection{DeckhouseTag: "v1.68.1"}, build("v1.68.1")+pinned("v1.68.1", "v1.68.1"))
	newest := install("alpha", "v1.70.1") + install("beta", "v1.70.1") + install("early-access", "v1.70.1")
	pulled(t, s, deckhouse.Selection{SinceVersion: "1.70"}, build("v1.70.1")+"release-channel:alpha, release-channel:beta, release-channel:early-access\n"+newest)
	pulled(t, s, deckhouse.Selection{IgnoreSuspend: true}, build("v1.68.1")+build("v1.69.3")+build("v1.70.1")+channels+"\n"+newest+install("stable", "v1.69.3")+install("rock-solid", "v1.68.1"))
}

// Without the channel lts, a source must have all default channels. With lts, none is required.
func TestMissingChannels(t *testing.T) {
	s := newSynthetic(t)
	s.build(edition, "v1.68.1", 1)
	s.build(edition, "v1.69.0", 0)
	s.channel(edition+"/release-channel", "stable", "v1.69.0", false)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, r, edition)
	var incomplete *pull.IncompleteError
	if _, err := pull.Run(t.Context(), o, nil); !errors.As(err, &incomplete) || len(incomplete.Problems) != 4 || !strings.Contains(err.Error(), "release-channel:rock-solid: the release channel is missing") {
		t.Error(err)
	}
	s.channel(edition+"/release-channel", "lts", "v1.68.1", false)
	pulled(t, s, deckhouse.Selection{}, build("v1.68.1")+build2("v1.69.0")+"release-channel:lts, release-channel:stable\n"+install("lts", "v1.68.1")+install("stable", "v1.69.0"))
	pulled(t, s, deckhouse.Selection{DeckhouseTag: "lts"}, build("v1.68.1")+"release-channel:lts\n"+pinned("lts", "v1.68.1"))
}

// build2 returns the tags of a build whose installer lists no images by digest.
func build2(version string) string { return strings.Replace(build(version), ",:@"+version, "", 1) }

// Attestations are pulled, unless the selection skips them.
func TestSkipVexImages(t *testing.T) {
	s := platformOnly(t)
	with := s.wanted(build("v1.68.1"))
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Planner = selecting(deckhouse.Selection{DeckhouseTag: "v1.68.1", SkipVexImages: true})
	pulltest.Run(t, o)
	got := pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir))
	for key, d := range with {
		if att := strings.HasSuffix(key, ".att"); att == (got[key] == d) {
			t.Errorf("the bundle has %s with the digest %q; want all tags except attestations", key, got[key])
		}
	}
}

// The modules of a source may be at another path. In the bundle, their path is always modules.
func TestModulesPathSuffix(t *testing.T) {
	for suffix, at := range map[string]string{"/extensions/all/": edition + "/extensions/all", "/": edition} {
		s := newSynthetic(t)
		s.image(at+"/console", "v1.0.0", map[string]string{"images_digests.json": "{}"})
		s.channel(at+"/console/release", "stable", "v1.0.0", false)
		s.image(at, "console", nil)
		s.writeAll()
		r, _ := pulltest.Serve(t, s.tree.Dir())
		o := options(t, r, edition)
		o.Planner = selecting(only(func(s *deckhouse.Selection) { s.NoModules, s.ModulesPathSuffix = false, suffix }))
		pulltest.Run(t, o)
		want := map[string]string{edition + "/modules/console:v1.0.0": s.tags[at+"/console:v1.0.0"].String(),
			edition + "/modules/console/release:stable": s.tags[at+"/console/release:stable"].String()}
		if diff := cmp.Diff(want, pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir))); diff != "" {
			t.Errorf("ModulesPathSuffix %s: tags of the bundle (-want +got): %s", suffix, diff)
		}
	}
}

// If a source lists no tags, a pull finds versions by requesting them one by one.
func TestProxyRegistry(t *testing.T) {
	s := standard(t)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	r.Inject(registrytest.Answer(registrytest.On("GET tags"), http.StatusForbidden))
	for name, test := range map[string]struct {
		selection deckhouse.Selection
		want      string
	}{
		// The pull finds 1.68.0 to 1.68.2. Because 1.68.3 is missing, it continues with 1.69.0.
		// Because 1.69.1 is missing, it continues with 1.70.0, and so on.
		"the platform": {only(func(s *deckhouse.Selection) {
			s.NoPlatform, s.ProxyRegistry, s.IncludePlatform = false, true, ">=1.68 <1.72"
		}),
			build("v1.68.0") + build("v1.68.1") + build("v1.68.2") + build("v1.69.0") + build("v1.69.3") + build("v1.70.0") + build("v1.70.1") + build("v1.71.0") + channels + "\n" + installs()},
		"one build": {only(func(s *deckhouse.Selection) { s.NoPlatform, s.ProxyRegistry, s.DeckhouseTag = false, true, "beta" }), build("v1.70.0") + pinned("beta", "v1.70.0")},
		"a module by its channels": {only(func(s *deckhouse.Selection) {
			s.NoModules, s.ProxyRegistry, s.IncludeModules = false, true, []string{"console"}
		}), console},
		// No version follows 1.2.0 directly, but the pull also tries the next major version.
		"a module by its versions": {only(func(s *deckhouse.Selection) {
			s.NoModules, s.ProxyRegistry, s.IncludeModules = false, true, []string{"console@>=1.0.0"}
		}), console + "\n" + version("console", "v1.0.0") + version("console", "v2.0.0")},
		"no module if none is named": {only(func(s *deckhouse.Selection) { s.NoModules, s.NoInstaller, s.ProxyRegistry = false, false, true }), installer},
		"a package": {only(func(s *deckhouse.Selection) {
			s.NoPackages, s.ProxyRegistry, s.IncludePackages = false, true, []string{"console-p@=v1.0.0"}
		}), `packages/console-p:v1.0.0, packages/console-p:@console-p v1.0.0, packages/console-p/version:v1.0.0
			packages/console-p/version:alpha=v1.0.0, packages/console-p/version:beta=v1.0.0, packages/console-p/version:early-access=v1.0.0
			packages/console-p/version:stable=v1.0.0, packages/console-p/version:rock-solid=v1.0.0, packages/console-p/version:lts=v1.0.0`},
		"a plugin": {only(func(s *deckhouse.Selection) { s.ProxyRegistry, s.IncludePlugins = true, []string{"system@=0.1.0"} }), "deckhouse-cli/plugins/system:v0.1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, r, edition)
			o.Planner = selecting(test.selection)
			pulltest.Run(t, o)
			if diff := cmp.Diff(s.wanted(test.want), pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir))); diff != "" {
				t.Error(diff)
			}
		})
	}
	if n := r.Kinds()["GET tags"]; n != 0 {
		t.Errorf("the pull listed tags %d times, want 0", n)
	}
}

// If a proxy refuses HEAD requests, a pull requests versions by GET. For each range of a constraint, it
// starts at the lowest version. If a version is refused, the pull fails, because more versions may follow.
func TestVersionsOfProxies(t *testing.T) {
	s := lean(t)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	r.Inject(registrytest.Answer(registrytest.On("GET tags"), http.StatusForbidden))
	r.Inject(registrytest.Answer(registrytest.On("HEAD manifests"), http.StatusMethodNotAllowed))
	o := options(t, r, edition)
	o.Planner = selecting(only(func(s *deckhouse.Selection) {
		s.ProxyRegistry, s.IncludeModules = true, []string{"console@1.1.2 || ~2.0.0"}
	}))
	pulltest.Run(t, o)
	if diff := cmp.Diff(s.wanted(console+"\n"+version("console", "v1.1.2")+version("console", "v2.0.0")), pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir))); diff != "" {
		t.Error(diff)
	}
	o.Dir = t.TempDir()
	r.Inject(registrytest.Answer(func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, "/manifests/v1.1.3") }, http.StatusForbidden))
	if _, err := pull.Run(t.Context(), o, nil); !errors.Is(err, client.ErrDenied) || !strings.Contains(err.Error(), "trying versions") {
		t.Error(err)
	}
}

// A pull fails if an image or a channel refers to a missing image, or if the selection lists
// something unknown.
func TestMissingSelections(t *testing.T) {
	tests := map[string]struct {
		build     func(*synthetic)
		selection deckhouse.Selection
		want      string
	}{
		"an image that a module lists": {func(s *synthetic) {
			s.image(edition+"/modules/console", "v1.0.0", map[string]string{"images_digests.json": `{"a":"sha256:` + strings.Repeat("ab", 32) + `"}`})
			s.channel(edition+"/modules/console/release", "alpha", "v1.0.0", false)
		}, deckhouse.Selection{}, "modules/console@sha256:" + strings.Repeat("ab", 32) + ": missing"},
		"an extra image": {func(s *synthetic) {
			s.image(edition+"/modules/console", "v1.0.0", map[string]string{"extra_images.json": `{"scanner": 3}`})
			s.channel(edition+"/modules/console/release", "alpha", "v1.0.0", false)
		}, deckhouse.Selection{}, "modules/console/extra/scanner:3: missing"},
		"a version that a channel points at": {func(s *synthetic) {
			s.channel(edition+"/modules/console/release", "alpha", "v9.9.9", false)
		}, deckhouse.Selection{}, "modules/console:v9.9.9: missing"},
		"a module": {func(*synthetic) {}, deckhouse.Selection{IncludeModules: []string{"consol"}}, "modules:consol: there is no such module"},
		"a version of a module": {func(s *synthetic) { s.image(edition+"/modules/console", "v1.0.0", map[string]string{}) },
			deckhouse.Selection{IncludeModules: []string{"console@^2.0.0"}}, "no version matches console@^2.0.0"},
		"an installer": {func(*synthetic) {}, deckhouse.Selection{NoModules: true, InstallerTag: "v9"}, "deckhouse/installer:v9: missing"},
		"a plugin":     {func(*synthetic) {}, deckhouse.Selection{NoModules: true, IncludePlugins: []string{"system"}}, "deckhouse-cli/plugins/system: missing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSynthetic(t)
			s.image(edition+"/modules", "console", nil)
			test.build(s)
			s.writeAll()
			r, _ := pulltest.Serve(t, s.tree.Dir())
			o := options(t, r, edition)
			test.selection.NoPlatform, test.selection.NoSecurityDB = true, true
			o.Planner = selecting(test.selection)
			var incomplete *pull.IncompleteError
			if _, err := pull.Run(t.Context(), o, nil); !errors.As(err, &incomplete) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want an *IncompleteError that contains %q", err, test.want)
			}
			pulltest.NothingPublished(t, o.Dir)
		})
	}
}

// A pull fails if a name in the source could lead out of the bundle, or if a file is malformed.
func TestIllegalNamesInSource(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"an extra image": {"extra_images.json": `{"../../../evil": "v1"}`},
		"its tag":        {"extra_images.json": `{"scanner": ["v1"]}`},
		"no document":    {"extra_images.json": `[`},
		"no digests":     {"images_digests.json": `nothing`},
	} {
		s := newSynthetic(t)
		s.image(edition+"/modules", "console", nil)
		s.image(edition+"/modules/console", "v1.0.0", files)
		s.channel(edition+"/modules/console/release", "alpha", "v1.0.0", false)
		s.writeAll()
		r, _ := pulltest.Serve(t, s.tree.Dir())
		o := options(t, r, edition)
		o.Planner = selecting(only(func(s *deckhouse.Selection) { s.NoModules = false }))
		if _, err := pull.Run(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), edition+"/modules/console:v1.0.0") {
			t.Errorf("%s: got error %v, want one that names the image modules/console:v1.0.0", name, err)
		}
		pulltest.NothingPublished(t, o.Dir)
	}
	s := newSynthetic(t)
	s.image(edition+"/modules", "Evil..", nil)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.NoModules = false }))
	if _, err := pull.Run(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), "not the name of a module") {
		t.Error(err)
	}
}

// A dry run reports the same content as the pull, and writes nothing.
func TestDryRun(t *testing.T) {
	s := standard(t)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Dir += "/new"
	plan, err := pull.Dry(t.Context(), o, nil)
	layouttest.Try(t, err)
	if _, err := os.Stat(o.Dir); err == nil {
		t.Error("after the dry run, the directory of the bundle exists, want no such directory")
	}
	pulltest.Run(t, o)
	want := pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir))
	got := map[string]string{}
	for _, a := range plan.Archives {
		info, err := os.Stat(o.Dir + "/" + a.Name)
		if err != nil || info.Size() != a.Size {
			t.Errorf("Stat(%s): error %v; want no error and the planned size of %d bytes", a.Name, err, a.Size)
		}
		for _, l := range a.Layouts {
			name := edition
			if l.Path != "." {
				name += "/" + l.Path
			}
			for _, i := range l.Images {
				got[name+":"+i.Tag] = i.Digest.String()
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := json.Marshal(plan); err != nil {
		t.Error(err)
	}
	c := plan.Components[0]
	if c.Name != "platform" || c.Channels["stable"] != "v1.69.3" || len(c.Versions) != 6 {
		t.Errorf("first component of the plan = %+v, want the platform with stable at v1.69.3 and 6 versions", c)
	}
}
