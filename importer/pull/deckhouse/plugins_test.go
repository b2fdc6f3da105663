package deckhouse_test

import (
	"encoding/base64"
	"net/http"
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

// A pull contains plugins whose contracts list modules of the bundle, and the plugins that these
// require. If the registry refuses to list plugins, or if only extra images are pulled, it contains
// none.
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
	r, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.IncludeModules = []string{"console"} }))
	report, err := pull.Run(t.Context(), o, nil)
	layouttest.Try(t, err)
	got := pulltest.OpenAt(t, edition, o.Dir)
	pulltest.Intact(t, got)
	tools := "\ndeckhouse-cli/plugins/tool:v1.0.0, deckhouse-cli/plugins/tool:v2.0.0, deckhouse-cli/plugins/base:v0.1.0"
	if diff := cmp.Diff(s.wanted(console+tools), pulltest.Listed(t, got)); diff != "" {
		t.Error(diff)
	}
	i := slices.IndexFunc(report.Components, func(c *pull.Component) bool { return c.Name == "plugin tool" })
	if i < 0 {
		t.Fatal("the report has no component \"plugin tool\", want one")
	}
	if c := report.Components[i]; !cmp.Equal(c.Versions, []string{"v1.0.0", "v2.0.0"}) || !slices.Contains(c.Notes, "v2.0.0: for module console v1.1.0") {
		t.Errorf("got the component %+v, want v1.0.0, v2.0.0 and the reason for v2.0.0", *c)
	}
	for name, change := range map[string]func(*pull.Options){
		"refused": func(*pull.Options) {
			r.Inject(registrytest.Answer(func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, "/plugins/tags/list") }, http.StatusForbidden))
		},
		"only extra images are pulled": func(o *pull.Options) {
			o.Planner = selecting(only(func(s *deckhouse.Selection) { s.IncludeModules, s.OnlyExtraImages = []string{"console"}, true }))
		},
	} {
		o := o
		o.Dir = t.TempDir()
		change(&o)
		pulltest.Run(t, o)
		for key := range pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir)) {
			if strings.Contains(key, "/plugins/") {
				t.Errorf("%s: the bundle has %s, want no plugins", name, key)
			}
		}
	}
}
