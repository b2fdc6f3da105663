package prune_test

import (
	"errors"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/prune"
)

// outcomeOf calls Decide at the Unix time 1,000,000. It returns the rule for each image, by REPOSITORY:TAG.
// TAG is the image's first tag, or "-" if there is none. A "+" before the rule means that the image is kept.
func outcomeOf(t *testing.T, f prune.Facts, p prune.Policy, s prune.Scope) map[string]string {
	t.Helper()
	s.Now = time.Unix(1_000_000, 0)
	o, err := prune.Decide(f, p, s)
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]string{}
	for _, x := range o.Decisions {
		name := x.Repository + ":-"
		if len(x.Tags) > 0 {
			name = x.Repository + ":" + x.Tags[0]
		}
		rules[name] = map[bool]string{true: "+"}[x.Keep] + string(x.Reason.Rule)
	}
	return rules
}

// Decide makes the right decision for kinds of images that the other tests do not have.
func TestDecideForRareImages(t *testing.T) {
	newest := prune.Policy{KeepNewest: 1}
	declared := func(at string, places ...prune.Place) func(*prune.Facts) {
		return func(f *prune.Facts) {
			f.Releases = []prune.Release{{Of: "modules/m", Tag: "v0.1.0", Own: []prune.Place{{Repository: "modules/m", Reference: at}}, Declared: places}}
		}
	}
	for name, c := range map[string]struct {
		lines  []string
		change func(*prune.Facts)
		policy prune.Policy
		scope  prune.Scope
		image  string
		want   prune.Rule
		kept   bool
	}{
		"a repository from which nothing may be removed": {[]string{"app:v1.0.0 one", "app:v1.1.0 two"}, func(f *prune.Facts) { f.Repositories[0].Unclear = "two copies" }, newest, prune.Scope{}, "app:v1.0.0", prune.Unclear, true},
		"pruned, in its grace period": {[]string{"app:- one"}, func(f *prune.Facts) { f.Repositories[0].Images[0].Pruned = time.Unix(1_000_001, 0) }, prune.Policy{}, prune.Scope{},
			"app:-", prune.Grace, true},
		"pruned, its grace period is over": {[]string{"app:- one"}, func(f *prune.Facts) { f.Repositories[0].Images[0].Pruned = time.Unix(1_000_000, 0) }, prune.Policy{}, prune.Scope{},
			"app:-", prune.PrunedBefore, false},
		"pruned, its grace period ends early": {[]string{"app:- one"}, func(f *prune.Facts) { f.Repositories[0].Images[0].Pruned = time.Unix(2_000_000, 0) }, prune.Policy{}, prune.Scope{EndGrace: true},
			"app:-", prune.PrunedBefore, false},
		"no rule at all":                                 {[]string{"app:v1.0.0 one", "app:v1.1.0 two"}, nil, prune.Policy{}, prune.Scope{}, "app:v1.0.0", prune.NoRule, true},
		"an extra image of a module":                     {[]string{"modules/m/extra/tool:v1 x"}, nil, newest, prune.Scope{}, "modules/m/extra/tool:v1", prune.NotDeclared, true},
		"an extra image of a package":                    {[]string{"packages/p/extra/tool:v1 x"}, nil, newest, prune.Scope{}, "packages/p/extra/tool:v1", prune.NotDeclared, true},
		"an extra image outside of modules and packages": {[]string{"apps/p/extra/tool:v1.0.0 x", "apps/p/extra/tool:v1.1.0 y"}, nil, newest, prune.Scope{}, "apps/p/extra/tool:v1.0.0", prune.Superseded, false},
		"a path as deep as that of an extra image":       {[]string{"modules/m/other/tool:v1.0.0 x", "modules/m/other/tool:v1.1.0 y"}, nil, newest, prune.Scope{}, "modules/m/other/tool:v1.0.0", prune.Superseded, false},
		"a tag that is almost a digest":                  {[]string{"app:sha256-abc.sig x"}, nil, newest, prune.Scope{}, "app:sha256-abc.sig", prune.UnknownSubject, true},
		"two newer spellings of one version":             {[]string{"app:v1.0.0 one", "app:1.1.0 two", "app:v1.1.0 three"}, nil, prune.Policy{KeepNewest: 2}, prune.Scope{}, "app:v1.0.0", prune.KeptNewest, true},
		"two spellings, and an even newer version":       {[]string{"app:v1.0.0 one", "app:1.1.0,v1.1.0 two", "app:v1.2.0 three"}, nil, prune.Policy{KeepNewest: 2}, prune.Scope{}, "app:v1.0.0", prune.Superseded, false},
		"a signature of a missing tag":                   {[]string{"app:v1.0.0.sig x"}, nil, newest, prune.Scope{}, "app:v1.0.0.sig", prune.UnknownSubject, true},
		"a repository beside the platform":               {[]string{"other:v1.0.0 x", "other:v1.1.0 y", ".:v1.70.1 z"}, func(f *prune.Facts) { f.Platform = true }, newest, prune.Scope{}, "other:v1.0.0", prune.Superseded, false},
		"replaced, and younger than OlderThan": {[]string{"app:-stable one", "app:stable two"}, func(f *prune.Facts) {
			for i := range f.Repositories[0].Images {
				f.Repositories[0].Images[i].Since = time.Unix(999_999, 0)
			}
		}, prune.Policy{OlderThan: time.Hour}, prune.Scope{},
			"app:-", prune.KeptYoung, true},
		"replaced, and older than OlderThan":    {[]string{"app:-stable one", "app:stable two"}, nil, prune.Policy{OlderThan: time.Hour}, prune.Scope{}, "app:-", prune.Replaced, false},
		"a preview with a newer preview":        {[]string{"app:v1.0.0-rc.1 one", "app:v1.0.0-rc.2 two", "app:v0.9.0 three"}, nil, prune.Policy{Keep: []string{"app:v1.0.0-rc.2"}}, prune.Scope{}, "app:v1.0.0-rc.1", prune.Superseded, false},
		"a version with a newer preview":        {[]string{"app:v1.0.0-rc.2 two", "app:v0.9.0 three"}, nil, prune.Policy{Keep: []string{"app:v1.0.0-rc.2"}}, prune.Scope{}, "app:v0.9.0", prune.NotSuperseded, true},
		"declared by a tag":                     {[]string{"modules/m:v0.1.0 old", "modules/m:v0.2.0 new", "modules/m/extra/tool:v7.0.0 x", "modules/m/extra/tool:v8.0.0 y"}, declared("v0.1.0", prune.Place{Repository: "modules/m/extra/tool", Reference: "v7.0.0"}), newest, prune.Scope{}, "modules/m/extra/tool:v7.0.0", prune.DeclaredByGone, false},
		"declared by a kept release":            {[]string{"modules/m:v0.1.0 old", "modules/m:v0.2.0 new", "modules/m/extra/tool:v7 x"}, declared("v0.2.0", prune.Place{Repository: "modules/m/extra/tool", Reference: "v7"}), newest, prune.Scope{}, "modules/m/extra/tool:v7", prune.DeclaredBy, true},
		"declared together with missing images": {[]string{"modules/m:v0.2.0 new >part", "modules/m/extra/tool:v7 x"}, declared("v0.2.0", prune.Place{Repository: "nowhere", Reference: "v1"}, prune.Place{Repository: "nowhere", Reference: digestOf("x").String()}, prune.Place{Repository: "modules/m", Reference: digestOf("part").String()}, prune.Place{Repository: "modules/m/extra/tool", Reference: "v7"}), newest, prune.Scope{}, "modules/m/extra/tool:v7", prune.DeclaredBy, true},
		"perhaps in the unreadable list of a kept release": {[]string{"modules/m:v0.1.0 old", "modules/m:v0.2.0 new", "modules/m/extra/tool:v7 x"}, func(f *prune.Facts) {
			f.Releases = []prune.Release{
				{Of: "modules/m", Tag: "v0.1.0", Own: []prune.Place{{Repository: "modules/m", Reference: "v0.1.0"}}, Declared: []prune.Place{{Repository: "modules/m/extra/tool", Reference: "v7"}}},
				{Of: "modules/m", Tag: "v0.2.0", Own: []prune.Place{{Repository: "modules/m", Reference: "v0.2.0"}, {Repository: "gone", Reference: "v1"}}, Unreadable: "damaged"}}
		}, newest, prune.Scope{}, "modules/m/extra/tool:v7", prune.UnreadableList, true},
		"an unreadable list of another module": {[]string{"modules/m:v0.1.0 old", "modules/n:v0.2.0 new", "modules/m:v0.3.0 newer", "modules/m/extra/tool:v7 x"}, func(f *prune.Facts) {
			f.Releases = []prune.Release{
				{Of: "modules/m", Tag: "v0.1.0", Own: []prune.Place{{Repository: "modules/m", Reference: "v0.1.0"}}, Declared: []prune.Place{{Repository: "modules/m/extra/tool", Reference: "v7"}}},
				{Of: "modules/n", Tag: "v0.2.0", Own: []prune.Place{{Repository: "modules/n", Reference: "v0.2.0"}}, Unreadable: "damaged"}}
		}, newest, prune.Scope{}, "modules/m/extra/tool:v7", prune.DeclaredByGone, false},
	} {
		f := factsOf(t, c.lines...)
		if c.change != nil {
			c.change(&f)
		}
		got, want := outcomeOf(t, f, c.policy, c.scope)[c.image], map[bool]string{true: "+"}[c.kept]+string(c.want)
		if got != want {
			t.Errorf("%s: Decide gives the rule %q, want %q", name, got, want)
		}
	}
}

// An index of images is kept even if one of its children is missing. The child counts as kept content.
func TestMissingChildIsKept(t *testing.T) {
	f := factsOf(t, "app:v1.0.0 index >child")
	delete(f.Repositories[0].Manifests, digestOf("child"))
	o, err := prune.Decide(f, prune.Policy{KeepNewest: 1}, prune.Scope{})
	if err != nil || !o.Decisions[0].Keep || !o.Content["app"][digestOf("child")] {
		t.Errorf("Decide without the child = %+v, error %v; want the index and the child kept", o, err)
	}
}

// Decide refuses a malformed policy. A policy with any single rule does not count as empty.
func TestDecideChecksThePolicy(t *testing.T) {
	f := factsOf(t, "app:v1.0.0 one")
	if o, err := prune.Decide(f, prune.Policy{KeepNewest: -1}, prune.Scope{}); !errors.Is(err, prune.ErrPolicy) || o.Decisions != nil {
		t.Errorf("Decide with KeepNewest -1 = %+v, error %v; want no decisions and ErrPolicy", o, err)
	}
	for what, p := range map[string]prune.Policy{
		"a release": {KeepReleases: []string{"v1"}}, "a bundle": {KeepBundles: []string{"x"}}, "a glob": {Keep: []string{"x"}}, "the deployed version": {Deployed: "v1"},
		"the newest": {KeepNewest: 1}, "the young": {OlderThan: 1}, "previous ones": {KeepPrevious: 1},
	} {
		if p.IsEmpty() {
			t.Errorf("IsEmpty of a policy that keeps only %s = true, want false", what)
		}
	}
	b := prune.Policy{Bundles: []prune.Bundle{{Images: map[string]map[digest.Digest]bool{"app": {}}}}}
	if !b.IsEmpty() || !(prune.Policy{}).IsEmpty() {
		t.Error("IsEmpty of a policy without a rule = false, want true")
	}
}
