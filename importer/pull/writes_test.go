package pull_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

const changelog = `console:
  fixes:
    - summary: "a: b"
      date: 2026-10-01
  features: [x]
agent: {}
`

// released is a release-channel image with a changelog.
func (s *synthetic) released(tag, version string) {
	s.image(edition+"/release-channel", tag, map[string]string{"changelog.yaml": changelog, "version.json": `{
		"version":"` + version + `","requirements":{"k8s":"1.29","autoK8sVersion":"1.30"},"disruptions":{"1.69":["ingress","cni"],"1.68":["x"]}}`})
}

// The file of releases has a document for each version that has a release-channel image,
// where no build is asked for, and always the same bytes. Fields and links are those that
// spec/deckhouse-pull.md names.
func TestReleasesFile(t *testing.T) {
	s := platformOnly(t)
	s.released("v1.69.3", "v1.69.3")
	s.writeAll()
	r, _ := serveTree(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Selection = only(func(s *pull.Selection) { s.NoPlatform, s.IgnoreSuspend = false, true })
	report, err := pull.Run(t.Context(), o, nil)
	try(t, err)
	got, err := os.ReadFile(path.Join(o.Dir, "deckhousereleases.yaml"))
	try(t, err)
	bare := func(v string) string {
		return "---\napiVersion: deckhouse.io/v1alpha1\nkind: DeckhouseRelease\nmetadata:\n  name: " + v + "\nspec:\n  version: " + v +
			"\n  changelogLink: https://github.com/deckhouse/deckhouse/releases/tag/" + v + "\n"
	}
	want := bare("v1.68.1") + `---
apiVersion: deckhouse.io/v1alpha1
kind: DeckhouseRelease
metadata:
  name: v1.69.3
spec:
  version: v1.69.3
  requirements:
    autoK8sVersion: "1.30"
    k8s: "1.29"
  disruptions:
    - ingress
    - cni
  changelog:
    agent: {}
    console:
      features:
        - x
      fixes:
        - date: "2026-10-01"
          summary: 'a: b'
  changelogLink: https://github.com/deckhouse/deckhouse/releases/tag/v1.69.3
` + bare("v1.70.1")
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(report.Written, "deckhousereleases.yaml") {
		t.Errorf("%q", report.Written)
	}
	report, err = pull.Run(t.Context(), o, nil)
	try(t, err)
	if len(report.Written) != 0 || !slices.Contains(report.Kept, "deckhousereleases.yaml") {
		t.Errorf("again: %+v", report)
	}
	for name, change := range map[string]func(*pull.Options){
		"a build":         func(o *pull.Options) { o.Selection.DeckhouseTag = "v1.69.3" },
		"exactly a build": func(o *pull.Options) { o.Selection.IncludePlatform = "=v1.69.3" },
		"no platform":     func(o *pull.Options) { o.Selection.NoPlatform = true },
	} {
		o := o
		o.Dir = t.TempDir()
		change(&o)
		run(t, o)
		if _, err := os.Stat(path.Join(o.Dir, "deckhousereleases.yaml")); err == nil {
			t.Errorf("%s: there is a file", name)
		}
	}
	o.Dir, o.Tree = t.TempDir(), true
	run(t, o)
	if inTree, err := os.ReadFile(path.Join(o.Dir, "deckhousereleases.yaml")); err != nil || string(inTree) != want {
		t.Errorf("in a tree: %v", err)
	}
}

// A version whose release cannot be described is left out of the file, and of nothing
// else; a changelog that cannot be read is left out of its document.
func TestReleasesThatAreNone(t *testing.T) {
	s := platformOnly(t)
	s.image(edition+"/release-channel", "v1.69.3", map[string]string{"version.json": "{}", "changelog.yaml": "a: [\n"})
	s.image(edition+"/release-channel", "v1.70.1", map[string]string{"changelog.yaml": "a: b\n"})
	s.build(edition, "v1.71.0", 1)
	s.channel(edition+"/release-channel", "alpha", "v1.71.0", false)
	s.writeAll()
	r, _ := serveTree(t, s.tree.Dir())
	r.Inject(registrytest.Answer(func(q *http.Request) bool {
		return strings.HasSuffix(q.URL.Path, "/release-channel/manifests/v1.71.0")
	}, http.StatusNotFound))
	o := options(t, r, edition)
	o.Selection = only(func(s *pull.Selection) { s.NoPlatform, s.IgnoreSuspend = false, true })
	report, err := pull.Run(t.Context(), o, nil)
	try(t, err)
	got, err := os.ReadFile(path.Join(o.Dir, "deckhousereleases.yaml"))
	try(t, err)
	if n := strings.Count(string(got), "---\n"); n != 2 || !strings.Contains(string(got), "name: v1.68.1\n") || !strings.Contains(string(got), "name: v1.69.3\n") {
		t.Errorf("%s", got)
	}
	notes := strings.Join(report.Components[0].Notes, "\n")
	for _, want := range []string{"v1.69.3: no changelog: changelog.yaml: ", "v1.70.1: skipped: its image has no version.json"} {
		if !strings.Contains(notes, "deckhousereleases.yaml: "+want) {
			t.Errorf("%q lacks %q", notes, want)
		}
	}
	lacks(t, report, edition+"/release-channel:v1.71.0: not there")
}

// lacks fails where a report does not list something as missing in the source.
func lacks(t *testing.T, report *pull.Report, want ...string) {
	t.Helper()
	var all []string
	for _, gap := range report.Missing {
		all = append(all, gap.String())
	}
	for _, line := range want {
		if !slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, line) }) {
			t.Errorf("%q is not in the list of what is missing: %q", line, all)
		}
	}
}

// What a source does not have, and a bundle can do without, is listed at the end.
func TestListOfWhatIsMissing(t *testing.T) {
	s := newSynthetic(t)
	s.build(edition, "v1.68.1", 1)
	for _, channel := range []string{"lts", "stable"} {
		s.channel(edition+"/release-channel", channel, "v1.68.1", false)
	}
	s.image(edition+"/security/trivy-db", "2", nil)
	s.writeAll()
	r, _ := serveTree(t, s.tree.Dir())
	r.Inject(registrytest.Answer(func(q *http.Request) bool { return strings.Contains(q.URL.Path, "/install-standalone/") }, http.StatusNotFound))
	o := options(t, r, edition)
	report, err := pull.Run(t.Context(), o, nil)
	try(t, err)
	lacks(t, report, edition+"/release-channel:alpha: the release channel is not there", edition+"/install-standalone:v1.68.1: not there",
		edition+"/security/trivy-bdu:1: not there", edition+"/modules: it lists no modules", edition+"/packages: it lists no packages",
		"deckhouse/installer:latest: not there", "deckhouse/deckhouse-cli: the d8 program is not there")
	got := openAt(t, edition, o.Dir)
	for _, empty := range []string{"install-standalone", "security/trivy-checks"} { // as the field's own tool writes them
		if repo, err := got.Repository(edition + "/" + empty); err != nil {
			t.Errorf("%s: %v", empty, err)
		} else if tags, _ := repo.Tags("", -1); len(tags) != 0 {
			t.Errorf("%s: %q", empty, tags)
		}
	}
	// Who asks for the program gets it, or nothing.
	o.Selection = only(func(s *pull.Selection) { s.DeckhouseCLITag = "v1" })
	o.Dir = t.TempDir()
	var gaps *pull.IncompleteError
	if _, err := pull.Run(t.Context(), o, nil); !errors.As(err, &gaps) || !strings.Contains(err.Error(), "deckhouse/deckhouse-cli:v1: not there") {
		t.Error(err)
	}
}

// What belongs to all editions is beside the edition, or below a source without one. Where
// nothing stands before the edition a push does not split, and a pull finds what it wrote.
func TestWhereSharedLayoutsAre(t *testing.T) {
	for name, test := range map[string]struct {
		source, base string
		unsplit      bool
		found        bool
	}{
		"beside the edition":         {"deckhouse/ee", "deckhouse/", false, true},
		"below it":                   {"deckhouse/ee", "deckhouse/ee/", false, false},
		"below it, without a split":  {"deckhouse/ee", "deckhouse/ee/", true, true},
		"beside it, without a split": {"deckhouse/ee", "deckhouse/", true, false},
		"deeper":                     {"mirror/of/deckhouse/se-plus", "mirror/of/deckhouse/", false, true},
		"no edition":                 {"deckhouse", "deckhouse/", false, true},
		"an edition alone":           {"ee", "", false, true},
		"below an edition alone":     {"ee", "ee/", false, true},
		"the same without a split":   {"ee", "", true, false},
		"no edition, by its case":    {"deckhouse/ee-mirror", "deckhouse/", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSynthetic(t)
			s.image(test.source, "v1", nil)
			tags := map[string]string{"installer": "latest", "deckhouse-cli": "v1.0.0", "deckhouse-cli/plugins/a": "v2.0.0"}
			want := map[string]string{}
			for at, tag := range tags {
				want["root/"+at+":"+tag] = s.image(test.base+at, tag, nil).Digest.String()
			}
			s.image(test.base+"deckhouse-cli/plugins", "a", nil)
			s.writeAll()
			r, _ := serveTree(t, s.tree.Dir())
			o := options(t, r, test.source)
			o.Selection = only(func(s *pull.Selection) { s.NoInstaller, s.NoEditionSplit = false, test.unsplit })
			if test.found {
				o.Selection.IncludePlugins = []string{"a"}
			} else {
				want = map[string]string{}
			}
			run(t, o)
			if diff := cmp.Diff(want, listed(t, openAt(t, "root", o.Dir))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A registry that refuses what is beside an edition may have it below; if it does not, the
// refusal is told.
func TestSharedLayoutsThatAreRefused(t *testing.T) {
	s := newSynthetic(t)
	s.image("ee/installer", "latest", nil)
	s.writeAll()
	r, _ := serveTree(t, s.tree.Dir())
	r.Inject(registrytest.Answer(func(q *http.Request) bool { return strings.HasPrefix(q.URL.Path, "/v2/installer/") }, http.StatusForbidden))
	o := options(t, r, "ee")
	o.Selection = only(func(s *pull.Selection) { s.NoInstaller = false })
	run(t, o)
	o.Selection.InstallerTag, o.Dir = "v2", t.TempDir()
	if _, err := pull.Run(t.Context(), o, nil); !errors.Is(err, client.ErrDenied) {
		t.Error(err)
	}
}

// Attestations by tag and by digest come with platform, modules and packages. Those of
// extra images are in the module's repository, and what extra/ has of them stays.
func TestAttestations(t *testing.T) {
	s := newSynthetic(t)
	s.build(edition, "v1.68.1", 1)
	s.channel(edition+"/release-channel", "v1.68.1", "v1.68.1", false)
	want := s.wanted(build("v1.68.1") + pinned("v1.68.1", "v1.68.1"))
	att := func(repository, tag string) {
		want[edition+strings.TrimPrefix(repository, edition)+":"+tag] = s.image(repository, tag, nil).Digest.String()
	}
	att(edition, "v1.68.1.att")
	att(edition+"/install", "v1.68.1.att")
	for _, family := range []string{"modules", "packages"} {
		at := edition + "/" + family + "/a"
		releases := map[string]string{"modules": "release", "packages": "version"}[family]
		s.image(edition+"/"+family, "a", nil)
		want[at+":v1.0.0"] = s.image(at, "v1.0.0", map[string]string{"extra_images.json": `{"scanner": 7}`}).Digest.String()
		s.channel(at+"/"+releases, "v1.0.0", "v1.0.0", false)
		s.channel(at+"/"+releases, "stable", "v1.0.0", false)
		for _, tag := range []string{"v1.0.0", "stable"} {
			want[at+"/"+releases+":"+tag] = s.tags[at+"/"+releases+":"+tag].String()
		}
		extra := s.image(at+"/extra/scanner", "7", nil)
		want[at+"/extra/scanner:7"] = extra.Digest.String()
		att(at, "v1.0.0.att")
		att(at, "7.att")
		att(at, vex(extra.Digest))
		s.image(at+"/extra/scanner", "7.att", nil)
		s.image(at+"/extra/scanner", vex(extra.Digest), nil)
		s.image(at, "v9.9.9.att", nil) // of nothing that is pulled
	}
	s.writeAll()
	r, _ := serveTree(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Selection = pull.Selection{DeckhouseTag: "v1.68.1"}
	run(t, o)
	if diff := cmp.Diff(want, listed(t, openAt(t, edition, o.Dir))); diff != "" {
		t.Error(diff)
	}
	o.Selection.SkipVexImages, o.Dir = true, t.TempDir()
	run(t, o)
	for key := range want {
		if strings.HasSuffix(key, ".att") {
			delete(want, key)
		}
	}
	if diff := cmp.Diff(want, listed(t, openAt(t, edition, o.Dir))); diff != "" {
		t.Errorf("without: %s", diff)
	}
}

// The list of tags in an installer counts before the list of digests, verbatim; without
// either the installer is none.
func TestListsOfAnInstaller(t *testing.T) {
	const tags, digests = "deckhouse/candi/images_tags.json", "deckhouse/candi/images_digests.json"
	for name, test := range map[string]struct {
		files map[string]string
		want  string
		gap   string
	}{
		"tags":    {map[string]string{tags: `{"m":{"a":"A_b.1-x"}}`}, ":A_b.1-x", ""},
		"both":    {map[string]string{tags: `{"m":{"a":"A_b.1-x"}}`, digests: `{"m":{"a":"sha256:` + strings.Repeat("ab", 32) + `"}}`}, ":A_b.1-x", ""},
		"neither": {map[string]string{"etc/passwd": ""}, "", "has neither " + tags + " nor " + digests},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSynthetic(t)
			s.image(edition, "A_b.1-x", nil)
			s.image(edition, "dev", nil)
			s.image(edition+"/install", "dev", test.files)
			o := pull.Selection{DeckhouseTag: "dev", NoSecurityDB: true, NoModules: true, NoPackages: true, NoInstaller: true}
			if test.gap == "" {
				pulled(t, s, o, ":dev, install:dev,"+test.want)
				return
			}
			s.writeAll()
			r, _ := serveTree(t, s.tree.Dir())
			p := options(t, r, edition)
			p.Selection = o
			var gaps *pull.IncompleteError
			if _, err := pull.Run(t.Context(), p, nil); !errors.As(err, &gaps) || !strings.Contains(err.Error(), test.gap) {
				t.Error(err)
			}
		})
	}
}

// Of an index of platforms a bundle has the image for linux/amd64 under the tag, of the d8
// program and its plugins the index as it is. An index that is named by its digest is
// asked for by that.
func TestIndexesOfASource(t *testing.T) {
	s := newSynthetic(t)
	at := edition + "/modules/a"
	named := s.multi(at, "named", nil)
	s.tag(at, named, "")
	l := s.tree.Layout(at)
	amd := l.Image(layouttest.Image{Name: "module", Platform: &specs.Platform{OS: "linux", Architecture: "x86_64"},
		Files: map[string]string{"images_digests.json": jsonOf([]string{named.Digest.String()})}})
	arm := l.Image(layouttest.Image{Name: "arm", Platform: &specs.Platform{OS: "linux", Architecture: "arm64"}})
	s.tag(at, l.Index(layouttest.Index{Children: []specs.Descriptor{arm, amd}}), "v1.0.0")
	s.image(edition+"/modules", "a", nil)
	s.channel(at+"/release", "alpha", "v1.0.0", false)
	s.program()
	s.writeAll()
	r, _ := serveTree(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Selection = only(func(s *pull.Selection) { s.NoModules = false })
	run(t, o)
	want := map[string]string{
		at + ":v1.0.0":                     amd.Digest.String(),
		at + ":" + named.Digest.Encoded():  named.Digest.String(),
		at + "/release:alpha":              s.tags[at+"/release:alpha"].String(),
		edition + "/deckhouse-cli:v0.13.1": s.tags["deckhouse/deckhouse-cli:v0.13.1"].String(),
	}
	got := openAt(t, edition, o.Dir)
	whole(t, got)
	if diff := cmp.Diff(want, listed(t, got)); diff != "" {
		t.Error(diff)
	}
}

// The versions of a package that cannot be had are left out, and those of no other.
func TestPackageVersionsThatCannotBeHad(t *testing.T) {
	s := newSynthetic(t)
	at := edition + "/packages"
	for _, name := range []string{"good", "refused", "absent", "damaged"} {
		s.image(at, name, nil)
		if name != "absent" {
			s.channel(at+"/"+name+"/version", "stable", "v1.0.0", false)
		}
	}
	s.writeAll()
	bad := s.tags[at+"/damaged/version:stable"]
	r, _ := serveTree(t, s.tree.Dir())
	r.Inject(registrytest.Answer(func(q *http.Request) bool { return strings.Contains(q.URL.Path, "/refused/version/") }, http.StatusForbidden))
	r.Inject(func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
		if strings.HasSuffix(q.URL.Path, "/damaged/version/manifests/stable") || strings.HasSuffix(q.URL.Path, bad.String()) {
			w.Header().Set("Content-Type", specs.MediaTypeImageManifest)
			_, _ = w.Write([]byte(`{"schemaVersion":2,"mediaType":"` + specs.MediaTypeImageManifest + `","config":7}`))
			return true
		}
		return false
	})
	o := options(t, r, edition)
	o.Selection = only(func(*pull.Selection) {})
	report, err := pull.Run(t.Context(), o, nil)
	try(t, err)
	want := map[string]string{at + "/good/version:stable": s.tags[at+"/good/version:stable"].String()}
	if diff := cmp.Diff(want, listed(t, openAt(t, edition, o.Dir))); diff != "" {
		t.Error(diff)
	}
	lacks(t, report, at+"/refused/version: versions of the package cannot be had", at+"/absent/version: versions of the package cannot be had", at+"/damaged/version")
}

// Plugins whose contracts name what is in the bundle come along, with what they need, and
// whatever a source hides of them is no fault.
func TestPluginsOfModules(t *testing.T) {
	s := lean(t)
	const at = "deckhouse/deckhouse-cli/plugins"
	plugin := func(name, tag, contract string) {
		s.tag(at+"/"+name, s.multi(at+"/"+name, name+tag, map[string]string{"contract": base64.StdEncoding.EncodeToString([]byte(contract))}), tag)
	}
	needs := func(constraint string) string {
		return `{"name":"tool","requirements":{"modules":{"mandatory":[{"name":"console","constraint":"` + constraint + `"}]},"plugins":{"mandatory":[{"name":"base"}]}}}`
	}
	plugin("tool", "v1.0.0", needs("<1.1"))
	plugin("tool", "v2.0.0", needs(">=1.1"))
	plugin("tool", "v3.0.0", needs(">=9"))
	plugin("tool", "v4.0.0", "{")
	plugin("base", "v0.1.0", `{}`)
	s.image(at, "tool", nil)
	s.image(at, "ghost", nil)
	s.writeAll()
	r, _ := serveTree(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Selection = only(func(s *pull.Selection) { s.IncludeModules = []string{"console"} })
	report, err := pull.Run(t.Context(), o, nil)
	try(t, err)
	got := openAt(t, edition, o.Dir)
	whole(t, got)
	tools := "\ndeckhouse-cli/plugins/tool:v1.0.0, deckhouse-cli/plugins/tool:v2.0.0, deckhouse-cli/plugins/base:v0.1.0"
	if diff := cmp.Diff(s.wanted(console+tools), listed(t, got)); diff != "" {
		t.Error(diff)
	}
	i := slices.IndexFunc(report.Components, func(c *pull.Component) bool { return c.Name == "plugin tool" })
	if i < 0 || !cmp.Equal(report.Components[i].Versions, []string{"v1.0.0", "v2.0.0"}) || !slices.Contains(report.Components[i].Notes, "v2.0.0: for module console v1.1.0") {
		t.Errorf("%+v", report.Components)
	}
	for name, change := range map[string]func(*pull.Options){
		"refused": func(*pull.Options) {
			r.Inject(registrytest.Answer(func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, "/plugins/tags/list") }, http.StatusForbidden))
		},
		"extra images only": func(o *pull.Options) { o.Selection.OnlyExtraImages = true },
	} {
		o := o
		o.Dir = t.TempDir()
		change(&o)
		run(t, o)
		for key := range listed(t, openAt(t, edition, o.Dir)) {
			if strings.Contains(key, "/plugins/") {
				t.Errorf("%s: %s", name, key)
			}
		}
	}
}
