package deckhouse_test

import (
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

const changelog = `console:
  fixes:
    - summary: "a: b"
      date: 2026-10-01
  features: [x]
agent: {}
`

func (s *synthetic) released(tag, version string) {
	s.image(edition+"/release-channel", tag, map[string]string{"changelog.yaml": changelog, "version.json": `{
		"version":"` + version + `","requirements":{"k8s":"1.29","autoK8sVersion":"1.30"},"disruptions":{"1.69":["ingress","cni"],"1.68":["x"]}}`})
}

// deckhousereleases.yaml has a document for each version with a release-channel image. Its fields and
// changelog links are the same as in the file that d8 mirror pull writes. A second pull keeps the file. If
// a single build or no platform is selected, there is no such file.
func TestReleasesFile(t *testing.T) {
	s := platformOnly(t)
	s.released("v1.69.3", "v1.69.3")
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.NoPlatform, s.IgnoreSuspend = false, true }))
	report, err := pull.Run(t.Context(), o, nil)
	layouttest.Try(t, err)
	got, err := os.ReadFile(path.Join(o.Dir, "deckhousereleases.yaml"))
	layouttest.Try(t, err)
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
		t.Errorf("Written = %q, want deckhousereleases.yaml among them", report.Written)
	}
	report, err = pull.Run(t.Context(), o, nil)
	layouttest.Try(t, err)
	if len(report.Written) != 0 || !slices.Contains(report.Kept, "deckhousereleases.yaml") {
		t.Errorf("second pull: report %+v, want nothing written and deckhousereleases.yaml kept", report)
	}
	for name, change := range map[string]func(*deckhouse.Selection){
		"a build":           func(s *deckhouse.Selection) { s.DeckhouseTag = "v1.69.3" },
		"exactly one build": func(s *deckhouse.Selection) { s.IncludePlatform = "=v1.69.3" },
		"no platform":       func(s *deckhouse.Selection) { s.NoPlatform = true },
	} {
		o := o
		o.Dir = t.TempDir()
		o.Planner = selecting(only(func(s *deckhouse.Selection) {
			s.NoPlatform, s.IgnoreSuspend = false, true
			change(s)
		}))
		pulltest.Run(t, o)
		if _, err := os.Stat(path.Join(o.Dir, "deckhousereleases.yaml")); err == nil {
			t.Errorf("%s: the pull wrote deckhousereleases.yaml, want no such file", name)
		}
	}
	o.Dir, o.Tree = t.TempDir(), true
	pulltest.Run(t, o)
	if inTree, err := os.ReadFile(path.Join(o.Dir, "deckhousereleases.yaml")); err != nil || string(inTree) != want {
		t.Errorf("the deckhousereleases.yaml of a tree differs from that of archives, want the same content; error %v", err)
	}
}

// A pull of a single build over an older bundle removes deckhousereleases.yaml. The documents in it are of
// versions that the new platform.tar does not have, and operators apply this file to their clusters (docs of
// deckhouse/deckhouse, "apply DeckhouseReleases manifests": d8 k apply -f ./deckhousereleases.yaml). A pull
// without the platform keeps the file, because it keeps platform.tar, too.
func TestReleasesFileOfOlderBundle(t *testing.T) {
	s := platformOnly(t)
	s.image("deckhouse/installer", "latest", nil)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	for _, tree := range []bool{false, true} {
		o := options(t, r, edition)
		o.Tree = tree
		for i, step := range []struct {
			selection func(*deckhouse.Selection)
			want      bool
		}{
			{func(s *deckhouse.Selection) { s.NoPlatform = false }, true},
			{func(s *deckhouse.Selection) { s.NoInstaller = false }, true},
			{func(s *deckhouse.Selection) { s.NoPlatform, s.DeckhouseTag = false, "v1.69.3" }, false},
			{func(s *deckhouse.Selection) { s.NoPlatform, s.DeckhouseTag = false, "v1.69.3" }, false},
		} {
			selection := only(step.selection)
			selection.IgnoreSuspend = true
			o.Planner = selecting(selection)
			pulltest.Run(t, o)
			_, err := os.Stat(path.Join(o.Dir, "deckhousereleases.yaml"))
			if got := err == nil; got != step.want {
				t.Errorf("tree %t, pull %d: the bundle has deckhousereleases.yaml: %t, want %t", tree, i+1, got, step.want)
			}
			inventory, err := os.ReadFile(path.Join(o.Dir, "bundle.json"))
			layouttest.Try(t, err)
			if got := strings.Contains(string(inventory), "deckhousereleases.yaml"); got != step.want {
				t.Errorf("tree %t, pull %d: the inventory lists deckhousereleases.yaml: %t, want %t", tree, i+1, got, step.want)
			}
		}
	}
}

// If the release data of a version cannot be read, deckhousereleases.yaml omits the version, but the
// version is pulled. If only the changelog cannot be read, the version's document omits the changelog.
func TestUnreadableReleases(t *testing.T) {
	s := platformOnly(t)
	s.image(edition+"/release-channel", "v1.69.3", map[string]string{"version.json": "{}", "changelog.yaml": "a: [\n"})
	s.image(edition+"/release-channel", "v1.70.1", map[string]string{"changelog.yaml": "a: b\n"})
	s.build(edition, "v1.71.0", 1)
	s.channel(edition+"/release-channel", "alpha", "v1.71.0", false)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	r.Inject(registrytest.Answer(func(q *http.Request) bool {
		return strings.HasSuffix(q.URL.Path, "/release-channel/manifests/v1.71.0")
	}, http.StatusNotFound))
	o := options(t, r, edition)
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.NoPlatform, s.IgnoreSuspend = false, true }))
	report, err := pull.Run(t.Context(), o, nil)
	layouttest.Try(t, err)
	got, err := os.ReadFile(path.Join(o.Dir, "deckhousereleases.yaml"))
	layouttest.Try(t, err)
	if n := strings.Count(string(got), "---\n"); n != 2 || !strings.Contains(string(got), "name: v1.68.1\n") || !strings.Contains(string(got), "name: v1.69.3\n") {
		t.Errorf("deckhousereleases.yaml = %s, want only the documents of v1.68.1 and v1.69.3", got)
	}
	notes := strings.Join(report.Components[0].Notes, "\n")
	for _, want := range []string{"v1.69.3: no changelog: changelog.yaml: ", "v1.70.1: skipped: its image has no version.json"} {
		if !strings.Contains(notes, "deckhousereleases.yaml: "+want) {
			t.Errorf("notes = %q, want %q among them", notes, want)
		}
	}
	expectMissing(t, report, edition+"/release-channel:v1.71.0: missing")
}

// expectMissing fails the test unless a report lists the wanted content as missing in the source.
func expectMissing(t *testing.T, report *pull.Report, want ...string) {
	t.Helper()
	var all []string
	for _, m := range report.Missing {
		all = append(all, m.String())
	}
	for _, line := range want {
		if !slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, line) }) {
			t.Errorf("missing content in the report: want a line that starts with %q, got %q", line, all)
		}
	}
}
