package deckhouse_test

import (
	"errors"
	"net/http"
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

// A report lists optional content that is missing.
func TestMissingOptionalContentIsListed(t *testing.T) {
	s := newSynthetic(t)
	s.build(edition, "v1.68.1", 1)
	for _, channel := range []string{"lts", "stable"} {
		s.channel(edition+"/release-channel", channel, "v1.68.1", false)
	}
	s.image(edition+"/security/trivy-db", "2", nil)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	r.Inject(registrytest.Answer(func(q *http.Request) bool { return strings.Contains(q.URL.Path, "/install-standalone/") }, http.StatusNotFound))
	o := options(t, r, edition)
	report, err := pull.Run(t.Context(), o, nil)
	layouttest.Try(t, err)
	expectMissing(t, report, edition+"/release-channel:alpha: the release channel is missing", edition+"/install-standalone:v1.68.1: missing",
		edition+"/security/trivy-bdu:1: missing", edition+"/modules: the repository lists no modules", edition+"/packages: the repository lists no packages",
		"deckhouse/installer:latest: missing", "deckhouse/deckhouse-cli: the d8 program is missing")
	got := pulltest.OpenAt(t, edition, o.Dir)
	for _, empty := range []string{"install-standalone", "security/trivy-checks"} { // the bundle has these layouts although they are empty, as bundles of d8 do
		if repo, err := got.Repository(edition + "/" + empty); err != nil {
			t.Errorf("empty layout %s: got error %v, want none", empty, err)
		} else if tags, _ := repo.Tags("", -1); len(tags) != 0 {
			t.Errorf("empty layout %s: got the tags %q, want none", empty, tags)
		}
	}
	// If the user names a missing version of the d8 program, a pull fails.
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.DeckhouseCLITag = "v1" }))
	o.Dir = t.TempDir()
	var incomplete *pull.IncompleteError
	if _, err := pull.Run(t.Context(), o, nil); !errors.As(err, &incomplete) || !strings.Contains(err.Error(), "deckhouse/deckhouse-cli:v1: missing") {
		t.Error(err)
	}
}

// Layouts that all editions share are beside the edition or, if the source has no edition, below
// the source. If the source is only an edition, a push writes these layouts below the edition. A
// pull finds them there, too.
func TestSharedLayoutPaths(t *testing.T) {
	for name, test := range map[string]struct {
		source, base string
		unsplit      bool
		found        bool
	}{
		"beside the edition":                      {"deckhouse/ee", "deckhouse/", false, true},
		"below the edition":                       {"deckhouse/ee", "deckhouse/ee/", false, false},
		"below the edition, with NoEditionSplit":  {"deckhouse/ee", "deckhouse/ee/", true, true},
		"beside the edition, with NoEditionSplit": {"deckhouse/ee", "deckhouse/", true, false},
		"deeper":                                 {"mirror/of/deckhouse/se-plus", "mirror/of/deckhouse/", false, true},
		"no edition":                             {"deckhouse", "deckhouse/", false, true},
		"a source that is only an edition":       {"ee", "", false, true},
		"below a source that is only an edition": {"ee", "ee/", false, true},
		"a source that is only an edition, with NoEditionSplit": {"ee", "", true, false},
		"a source whose name only starts with an edition":       {"deckhouse/ee-mirror", "deckhouse/", false, false},
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
			r, _ := pulltest.Serve(t, s.tree.Dir())
			o := options(t, r, test.source)
			selection := only(func(s *deckhouse.Selection) { s.NoInstaller, s.NoEditionSplit = false, test.unsplit })
			if test.found {
				selection.IncludePlugins = []string{"a"}
			} else {
				want = map[string]string{}
			}
			o.Planner = selecting(selection)
			pulltest.Run(t, o)
			if diff := cmp.Diff(want, pulltest.Listed(t, pulltest.OpenAt(t, "root", o.Dir))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// If the registry refuses access to the path beside an edition, a pull requests the path below the
// edition. If the layout is missing there, the pull fails with the registry's refusal.
func TestRefusedSharedLayouts(t *testing.T) {
	s := newSynthetic(t)
	s.image("ee/installer", "latest", nil)
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	r.Inject(registrytest.Answer(func(q *http.Request) bool { return strings.HasPrefix(q.URL.Path, "/v2/installer/") }, http.StatusForbidden))
	o := options(t, r, "ee")
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.NoInstaller = false }))
	pulltest.Run(t, o)
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.NoInstaller, s.InstallerTag = false, "v2" }))
	o.Dir = t.TempDir()
	if _, err := pull.Run(t.Context(), o, nil); !errors.Is(err, client.ErrDenied) {
		t.Error(err)
	}
}
