package deckhouse

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// shelf is a catalog in memory. It maps NAME:TAG of a plugin to a contract in JSON. Text that is
// not JSON is a malformed contract.
type shelf map[string]string

func (s shelf) names(context.Context) (names []string, _ error) {
	for key := range s {
		name, _, _ := strings.Cut(key, ":")
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (s shelf) versions(_ context.Context, plugin string) ([]release.Release, error) {
	tags := map[string]bool{}
	for key := range s {
		if name, tag, _ := strings.Cut(key, ":"); name == plugin {
			tags[tag] = true
		}
	}
	if len(tags) == 0 {
		return nil, &unreadable{errors.New("missing")}
	}
	return release.Stable(sortedKeys(tags)), nil
}

func (s shelf) contract(_ context.Context, plugin, tag string) (release.Contract, error) {
	text, ok := s[plugin+":"+tag]
	if !ok {
		return release.Contract{}, &unreadable{errors.New("missing")}
	}
	if text != "" {
		text = base64.StdEncoding.EncodeToString([]byte(text))
	}
	c, err := release.ParseContract(text)
	if err != nil {
		return c, &unreadable{err}
	}
	return c, nil
}

// modules returns a contract that requires modules. Each is given as NAME or as NAME CONSTRAINT.
func modules(all ...string) string { return needing("modules", "mandatory", all) }

func plugins(all ...string) string { return needing("plugins", "mandatory", all) }

func needing(family, bucket string, all []string) string {
	var list []string
	for _, one := range all {
		name, constraint, _ := strings.Cut(one, " ")
		list = append(list, fmt.Sprintf(`{"name":%q,"constraint":%q}`, name, constraint))
	}
	return fmt.Sprintf(`{"name":"x","requirements":{%q:{%q:[%s]}}}`, family, bucket, strings.Join(list, ","))
}

// The rules come from two places of deckhouse-cli: the section "Plugin Mirroring" of its README,
// and its package internal/mirror/dist.
func TestChoiceOfPlugins(t *testing.T) {
	const anyOf = `{"requirements":{"modules":{"anyOf":[{"name":"storage","modules":[{"name":"ceph","constraint":">=2"},{"name":"nfs"}]}]}}}`
	for name, test := range map[string]struct {
		shelf   shelf
		bundle  string // modules as NAME:VERSION, and the platform as VERSION
		include []string
		want    string // chosen plugins as NAME:TAG (REASON), in the order of their choice
		notes   []string
		missing string
	}{
		"no contract lists a module of the bundle": {shelf{"a:v1.0.0": modules("other")}, "console:v1.0.0", nil, "", nil, ""},
		"no contract":                  {shelf{"a:v1.0.0": ""}, "console:v1.0.0", nil, "", nil, ""},
		"no modules":                   {shelf{"a:v1.0.0": modules("console")}, "", nil, "", nil, ""},
		"the newest":                   {shelf{"a:v1.0.0": modules("console"), "a:v1.1.0": modules("console")}, "console:v1.0.0", nil, "a:v1.1.0 (for module console v1.0.0)", nil, ""},
		"no preview":                   {shelf{"a:v1.0.0": modules("console"), "a:v1.1.0-rc.1": modules("console")}, "console:v1.0.0", nil, "a:v1.0.0 (for module console v1.0.0)", nil, ""},
		"the newest version that fits": {shelf{"a:v1.0.0": modules("console"), "a:v1.1.0": modules("console >=2")}, "console:v1.0.0", nil, "a:v1.0.0 (for module console v1.0.0)", nil, ""},
		"one plugin version for each version of a module":  {shelf{"a:v1.0.0": modules("console <2"), "a:v2.0.0": modules("console >=2")}, "console:v1.0.0 console:v2.1.0", nil, "a:v1.0.0 (for module console v1.0.0), a:v2.0.0 (for module console v2.1.0)", nil, ""},
		"one plugin version for both versions of a module": {shelf{"a:v1.0.0": modules("console")}, "console:v1.0.0 console:v2.1.0", nil, "a:v1.0.0 (for module console v1.0.0)", nil, ""},
		"a build suffix is not a preview":                  {shelf{"a:v1.0.0": modules("console >=1.0")}, "console:v1.2.0-main", nil, "a:v1.0.0 (for module console v1.2.0-main)", nil, ""},
		"a preview of a module does not fit": {shelf{"a:v1.0.0": modules("console >=1.0")}, "console:v1.2.0-rc.1", nil, "",
			[]string{"plugin a is not pulled for module console v1.2.0-rc.1: v1.0.0: requires module console >=1.0"}, ""},
		"one of two required modules is missing": {shelf{"a:v1.0.0": modules("console", "other >=1")}, "console:v1.0.0", nil, "",
			[]string{"plugin a is not pulled for module console v1.0.0: v1.0.0: requires module other >=1, but the bundle has none"}, ""},
		"one module of a group is enough": {shelf{"a:v1.0.0": anyOf}, "ceph:v2.0.0", nil, "a:v1.0.0 (for module ceph v2.0.0)", nil, ""},
		"only one of a group's modules fits": {shelf{"a:v1.0.0": anyOf}, "nfs:v0.1.0 ceph:v1.0.0", nil, "a:v1.0.0 (for module nfs v0.1.0)",
			[]string{"plugin a is not pulled for module ceph v1.0.0: v1.0.0: requires module ceph >=2"}, ""},
		"no module of a group is in the bundle": {shelf{"a:v1.0.0": strings.Replace(anyOf, `"anyOf"`, `"mandatory":[{"name":"console"}],"anyOf"`, 1)}, "console:v1.0.0", nil, "",
			[]string{`plugin a is not pulled for module console v1.0.0: v1.0.0: requires a module of the group "storage", but the bundle has none that fits`}, ""},
		"Deckhouse fits":    {shelf{"a:v1.0.0": deckhouse("console", ">=1.69")}, "console:v1.0.0 v1.68.0 v1.70.1", nil, "a:v1.0.0 (for module console v1.0.0)", nil, ""},
		"Deckhouse unknown": {shelf{"a:v1.0.0": deckhouse("console", ">=1.69")}, "console:v1.0.0", nil, "a:v1.0.0 (for module console v1.0.0)", nil, ""},
		"Deckhouse too old": {shelf{"a:v1.0.0": deckhouse("console", ">=1.69")}, "console:v1.0.0 v1.68.0", nil, "",
			[]string{"plugin a is not pulled for module console v1.0.0: v1.0.0: requires Deckhouse >=1.69, but the bundle has v1.68.0"}, ""},
		"the newest contract is malformed": {shelf{"a:v1.0.0": modules("console"), "a:v1.1.0": "{"}, "console:v1.0.0", nil, "a:v1.0.0 (for module console v1.0.0)", nil, ""},
		"all contracts are malformed": {shelf{"a:v1.0.0": "{", "b:v1.0.0": modules("console")}, "console:v1.0.0", nil, "b:v1.0.0 (for module console v1.0.0)",
			[]string{"plugin a is not pulled: no version has a readable contract: v1.0.0: malformed contract: unexpected end of JSON input"}, ""},
		"a malformed constraint":          {shelf{"a:v1.0.0": modules("console"), "a:v1.1.0": modules("console x.y.z.")}, "console:v1.0.0", nil, "a:v1.0.0 (for module console v1.0.0)", nil, ""},
		"only the newest contract counts": {shelf{"a:v1.0.0": modules("console"), "a:v2.0.0": modules("other")}, "console:v1.0.0", nil, "", nil, ""},
		"required plugins": {shelf{"a:v1.0.0": `{"requirements":{"modules":{"mandatory":[{"name":"console"}]},"plugins":{"mandatory":[{"name":"b","constraint":"<2"}]}}}`,
			"b:v1.0.0": plugins("c"), "b:v2.0.0": "", "c:v1.0.0": ""}, "console:v1.0.0", nil,
			"a:v1.0.0 (for module console v1.0.0), b:v1.0.0 (needed by plugin a), c:v1.0.0 (needed by plugin b)", nil, ""},
		"an older version whose requirements are met": {shelf{"a:v1.0.0": modules("console"),
			"a:v1.1.0": `{"requirements":{"modules":{"mandatory":[{"name":"console"}]},"plugins":{"mandatory":[{"name":"nowhere"}]}}}`}, "console:v1.0.0", nil,
			"a:v1.0.0 (for module console v1.0.0)", nil, ""},
		"by name":                    {shelf{"a:v1.0.0": "", "a:v1.1.0": "", "a:v2.0.0-rc.1": ""}, "", []string{"a"}, "a:v1.1.0 (asked for by name)", nil, ""},
		"named with a range":         {shelf{"a:v1.0.0": "", "a:v1.0.1": "", "a:v1.1.0": ""}, "", []string{"a@~1.0"}, "a:v1.0.1 (asked for by name)", nil, ""},
		"named with two ranges":      {shelf{"a:v1.0.0": "", "a:v1.0.1": "", "a:v2.1.0": ""}, "", []string{"a@~1.0", "a@^2"}, "a:v1.0.1 (asked for by name), a:v2.1.0 (asked for by name)", nil, ""},
		"a preview named by its tag": {shelf{"a:v1.0.0-rc.1": ""}, "", []string{"a@=v1.0.0-rc.1"}, "a:v1.0.0-rc.1 (asked for by name)", nil, ""},
		"named, although the bundle does not meet its requirements": {shelf{"a:v1.0.0": modules("console")}, "", []string{"a"}, "a:v1.0.0 (asked for by name)",
			[]string{"plugin a v1.0.0: requires module console, but the bundle has none"}, ""},
		"another plugin uses the version that the user names": {shelf{"a:v1.0.0": plugins("b >=1"), "b:v1.0.0": "", "b:v1.1.0": ""}, "", []string{"a", "b@=v1.0.0"}, "b:v1.0.0 (asked for by name), a:v1.0.0 (asked for by name)", nil, ""},
		"another plugin needs a newer version than the user names": {shelf{"a:v1.0.0": plugins("b >=1.1"), "b:v1.0.0": "", "b:v1.1.0": ""}, "", []string{"a", "b@=v1.0.0"},
			"b:v1.0.0 (asked for by name), a:v1.0.0 (asked for by name), b:v1.1.0 (needed by plugin a)", nil, ""},
		"a missing plugin that the user names": {shelf{}, "", []string{"a"}, "", nil, "a: missing"},
		"a missing tag that the user names":    {shelf{"a:v1.0.0": ""}, "", []string{"a@=v1.0.1"}, "", nil, "a:v1.0.1 missing"},
		"no version in the range":              {shelf{"a:v1.0.0": ""}, "", []string{"a@^2"}, "", nil, "a: a@^2: no version fits"},
		"a malformed contract of a named tag":  {shelf{"a:v1.0.0": "["}, "", []string{"a@=v1.0.0"}, "", nil, "a:v1.0.0 malformed contract: unexpected end of JSON input"},
		"a requirement that cannot be met":     {shelf{"a:v1.0.0": plugins("b ^2"), "b:v1.0.0": ""}, "", []string{"a"}, "", nil, "a: a: v1.0.0: needs plugin b ^2: no version fits"},
		"a circle":                             {shelf{"a:v1.0.0": plugins("b"), "b:v1.0.0": plugins("a")}, "", []string{"a"}, "", nil, "a: a: v1.0.0: needs plugin b: v1.0.0: plugins need each other in a circle: a → b → a"},
		"conflicts": {shelf{"a:v1.0.0": `{"requirements":{"modules":{"mandatory":[{"name":"console"}],"conditional":[{"name":"nfs","constraint":">=2"}],"noneOf":[{"name":"old","modules":[{"name":"ceph"}]}]},
			"plugins":{"conditional":[{"name":"b","constraint":">=2"}]},"kubernetes":{"constraint":">=9"}}}`, "b:v1.0.0": modules("console")}, "console:v1.0.0 nfs:v1.0.0 ceph:v1.0.0", nil,
			"a:v1.0.0 (for module console v1.0.0), b:v1.0.0 (for module console v1.0.0)",
			[]string{"plugin a v1.0.0: it conflicts with module ceph, but the bundle has v1.0.0",
				"plugin a v1.0.0: if module nfs is installed, it requires nfs >=2, but the bundle has v1.0.0",
				"plugin a v1.0.0: if plugin b is installed, it requires b >=2, which the bundle does not have"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			include, err := release.ParseSelectors(test.include)
			layouttest.Try(t, err)
			got, err := choosePlugins(t.Context(), test.shelf, bundleOf(test.bundle), include)
			layouttest.Try(t, err)
			var chosen, missing []string
			for _, p := range got.chosen {
				chosen = append(chosen, fmt.Sprintf("%s:%s (%s)", p.name, p.tag, p.reason))
			}
			for _, g := range got.unresolved {
				missing = append(missing, strings.TrimSuffix(g.name+":"+g.tag, "\x00")+" "+g.reason)
			}
			if diff := cmp.Diff([]any{test.want, test.notes, test.missing}, []any{strings.Join(chosen, ", "), got.notes, strings.Join(missing, ", ")}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func deckhouse(module, constraint string) string {
	return fmt.Sprintf(`{"requirements":{"deckhouse":{"constraint":%q},"modules":{"mandatory":[{"name":%q}]}}}`, constraint, module)
}

func bundleOf(text string) bundled {
	b := bundled{modules: map[string][]release.Release{}}
	for _, one := range strings.Fields(text) {
		name, tag, ok := strings.Cut(one, ":")
		if !ok {
			name, tag = "", one
		}
		r, _ := release.Parse(tag)
		if ok {
			b.modules[name] = append(b.modules[name], r)
		} else {
			b.platform = append(b.platform, r)
		}
	}
	return b
}

// The choice of plugins has limits: one for long chains of plugins, and one for many versions that
// require each other.
func TestLimitsOfPluginChoice(t *testing.T) {
	chain := shelf{}
	for i := range maxDependencies + 1 {
		chain[fmt.Sprintf("p%02d:v1.0.0", i)] = plugins(fmt.Sprintf("p%02d", i+1))
	}
	chain[fmt.Sprintf("p%02d:v1.0.0", maxDependencies+1)] = ""
	for first, want := range map[string]int{"p01": maxDependencies + 1, "p00": 0} {
		include, err := release.ParseSelectors([]string{first})
		layouttest.Try(t, err)
		got, err := choosePlugins(t.Context(), chain, bundled{}, include)
		if err != nil || len(got.chosen) != want || (len(got.unresolved) == 0) != (want > 0) {
			t.Errorf("choice for plugin %s: got %d plugins, want %d; unresolved %v, error %v", first, len(got.chosen), want, got.unresolved, err)
		}
	}
	// Each version of a plugin can be combined with each version of the next plugin.
	wide := shelf{}
	for i := range 8 {
		for v := range 8 {
			wide[fmt.Sprintf("p%d:v1.0.%d", i, v)] = plugins(fmt.Sprintf("p%d", i+1))
		}
	}
	include, err := release.ParseSelectors([]string{"p0"})
	layouttest.Try(t, err)
	if _, err := choosePlugins(t.Context(), wide, bundled{}, include); err == nil || !strings.Contains(err.Error(), "gave up after trying") {
		t.Error(err)
	}
}

// FuzzContract checks that every annotation is parsed or refused without a panic.
func FuzzContract(f *testing.F) {
	f.Add(base64.StdEncoding.EncodeToString([]byte(modules("console >=1"))), "v1.0.0")
	f.Add("", "")
	f.Add("!", "v1")
	f.Fuzz(func(t *testing.T, annotation, tag string) {
		c, err := release.ParseContract(annotation)
		if err != nil {
			return
		}
		b := bundleOf("console:v1.0.0 v1.70.0")
		_ = b.findUnmet(&c)
		_ = b.findConflicts(&c)
		_, _ = c.RequirementOf(tag)
	})
}
