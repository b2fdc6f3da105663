package prune_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/prune"
)

// factsOf builds facts from one line per image: REPOSITORY:TAG[,TAG...] NAME [>NAME...] [^NAME] [!GAP]. NAME
// stands for a manifest: the image itself, a child (>NAME) or its subject (^NAME). GAP says why the image
// cannot be read. As a tag, "-" means none, "-TAG" that another image has taken TAG, and "HEX" the digest.
func factsOf(t *testing.T, lines ...string) prune.Facts {
	t.Helper()
	byPath := map[string]*prune.Repository{}
	for _, line := range lines {
		fields := strings.Fields(line)
		at, tags, ok := strings.Cut(fields[0], ":")
		if !ok {
			t.Fatalf("line %q: got no colon in the first field, want REPOSITORY:TAG", line)
		}
		r := byPath[at]
		if r == nil {
			r = &prune.Repository{Path: at, Manifests: map[digest.Digest]prune.Manifest{}, Copies: map[digest.Digest][]int{}, Layers: []prune.Layer{{}}}
			byPath[at] = r
		}
		d := digestOf(fields[1])
		m := prune.Manifest{Blobs: []digest.Digest{digestOf("layer of " + fields[1])}}
		for _, f := range fields[2:] {
			switch f[0] {
			case '>':
				m.Children = append(m.Children, digestOf(f[1:]))
				r.Manifests[digestOf(f[1:])] = prune.Manifest{}
			case '^':
				m.Subject = digestOf(f[1:])
			case '!':
				m.Gap = f[1:]
			}
		}
		r.Manifests[d] = m
		image := prune.Image{Digest: d, Since: time.Unix(0, 0)}
		if replaced, untagged := strings.CutPrefix(tags, "-"); untagged {
			image.Replaced = replaced
			r.Layers[0].Entries = append(r.Layers[0].Entries, prune.Entry{Digest: d})
		} else {
			image.Tags = strings.Split(strings.ReplaceAll(tags, "HEX", d.Encoded()), ",")
			slices.Sort(image.Tags)
			for _, tag := range image.Tags {
				r.Layers[0].Entries = append(r.Layers[0].Entries, prune.Entry{Digest: d, Tag: tag})
			}
		}
		r.Images = append(r.Images, image)
	}
	f := prune.Facts{Volumes: []prune.Volume{{}}}
	for _, at := range slices.Sorted(maps.Keys(byPath)) {
		r := byPath[at]
		slices.SortFunc(r.Images, func(a, b prune.Image) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
		f.Repositories = append(f.Repositories, r)
	}
	return f
}

// decided returns the reason for each decision. The keys are REPOSITORY:TAG for an image that is removed, and
// REPOSITORY:+TAG for one that is kept. TAG is the first tag, or "-" if there is none.
func decided(t *testing.T, f prune.Facts, p prune.Policy) map[string]prune.Reason {
	t.Helper()
	o, err := prune.Decide(f, p, prune.Scope{Now: time.Unix(1_000_000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]prune.Reason{}
	for _, x := range o.Decisions {
		name := "-"
		if len(x.Tags) > 0 {
			name = x.Tags[0]
		}
		if name == x.Digest.Encoded() {
			name = "HEX"
		}
		if x.Keep {
			name = "+" + name
		}
		all[x.Repository+":"+name] = x.Reason
	}
	return all
}

// platform returns facts with three releases of the platform. Each release declares one image of its own, and
// one image that all releases share.
func platform(t *testing.T, more ...string) prune.Facts {
	t.Helper()
	lines := []string{".:HEX shared"}
	var releases []prune.Release
	for _, v := range []string{"v1.68.2", "v1.69.3", "v1.70.1"} {
		for _, at := range []string{".", "install", "release-channel"} {
			lines = append(lines, fmt.Sprintf("%s:%s %s-%s", at, v, at, v))
		}
		lines = append(lines, fmt.Sprintf(".:HEX image-%s", v))
		own := []prune.Place{{Repository: ".", Reference: v}, {Repository: "install", Reference: v}, {Repository: "release-channel", Reference: v}}
		releases = append(releases, prune.Release{Of: ".", Tag: v, Own: own, Declared: []prune.Place{
			{Repository: ".", Reference: digestOf("image-" + v).String()}, {Repository: ".", Reference: digestOf("shared").String()}}})
	}
	f := factsOf(t, append(lines, more...)...)
	f.Releases, f.Platform = releases, true
	return f
}

// kept returns the versions of the platform that are kept, as one text.
func kept(t *testing.T, f prune.Facts, p prune.Policy) string {
	t.Helper()
	var all []string
	for name := range decided(t, f, p) {
		if v, ok := strings.CutPrefix(name, "install:+"); ok {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestPolicyKeepsPlatformReleases(t *testing.T) {
	stable := "release-channel:stable stable"
	f := platform(t, stable)
	pointing := platform(t, stable)
	pointing.Channels = []prune.Channel{{Place: prune.Place{Repository: "release-channel", Reference: "stable"}, Of: ".", Target: "v1.68.2"}}
	unreadable := platform(t, stable)
	unreadable.Channels = []prune.Channel{{Place: prune.Place{Repository: "release-channel", Reference: "stable"}, Of: ".", Unreadable: "damaged"}}
	previews := platform(t, "install:v1.69.0-rc.1 old-preview", "install:v1.70.0-rc.1 preview")
	for _, v := range []string{"v1.69.0-rc.1", "v1.70.0-rc.1"} {
		previews.Releases = append(previews.Releases, prune.Release{Of: ".", Tag: v, Own: []prune.Place{{Repository: "install", Reference: v}}})
	}
	all := "v1.68.2 v1.69.3 v1.70.1"
	for _, c := range []struct {
		what   string
		facts  prune.Facts
		policy prune.Policy
		want   string
	}{
		{"keep the newest release", f, prune.Policy{KeepReleases: []string{"v1.70.1"}}, "v1.70.1"},
		{"another spelling", f, prune.Policy{KeepReleases: []string{"1.70.1"}}, "v1.70.1"},
		{"keep an older release, but no release supersedes the newest one", f, prune.Policy{KeepReleases: []string{"v1.69.3"}}, "v1.69.3 v1.70.1"},
		{"the deployed release and newer ones are kept", f, prune.Policy{Deployed: "v1.69.3"}, "v1.69.3 v1.70.1"},
		{"one release before the deployed one is kept", f, prune.Policy{Deployed: "v1.70.1", KeepPrevious: 1}, "v1.69.3 v1.70.1"},
		{"a preview does not count as the release before the deployed one", previews, prune.Policy{Deployed: "v1.70.1", KeepPrevious: 1}, "v1.69.3 v1.70.0-rc.1 v1.70.1"},
		{"no release before the deployed one is kept", previews, prune.Policy{Deployed: "v1.70.1"}, "v1.70.1"},
		{"KeepPrevious exceeds the number of releases", f, prune.Policy{Deployed: "v1.70.1", KeepPrevious: 9}, all},
		{"the deployed version is unknown", f, prune.Policy{KeepNewest: 1}, all},
		{"a glob for another repository", f, prune.Policy{Keep: []string{"modules/*"}}, all},
		{"a glob, but the deployed version is unknown", f, prune.Policy{Keep: []string{".:v1.70.*"}}, all},
		{"two rules", f, prune.Policy{Deployed: "v1.70.1", KeepNewest: 2}, "v1.69.3 v1.70.1"},
		{"a glob for one image of a release", f, prune.Policy{Deployed: "v1.70.1", Keep: []string{"release-channel:v1.68.*"}}, "v1.68.2 v1.70.1"},
		{"a channel", pointing, prune.Policy{Deployed: "v1.70.1"}, "v1.68.2 v1.70.1"},
		{"a channel that cannot be read", unreadable, prune.Policy{Deployed: "v1.70.1"}, all},
		{"young", f, prune.Policy{Deployed: "v1.70.1", OlderThan: 1_000_001 * time.Second}, all},
		{"old", f, prune.Policy{Deployed: "v1.70.1", OlderThan: 999_999 * time.Second}, "v1.70.1"},
	} {
		if got := kept(t, c.facts, c.policy); got != c.want {
			t.Errorf("%s: Decide keeps the releases %q, want %q", c.what, got, c.want)
		}
	}
	for _, p := range []prune.Policy{{KeepReleases: []string{"v1.70.2"}}, {Deployed: "v1.70.0"}} {
		if _, err := prune.Decide(f, p, prune.Scope{}); !errors.Is(err, prune.ErrNoRelease) {
			t.Errorf("Decide with the policy %+v: got error %v, want ErrNoRelease", p, err)
		}
	}
}

// An image is removed together with the last release that declares it. A signature is removed together with
// its subject.
func TestImagesAndSignaturesOfReleases(t *testing.T) {
	old, fresh := digestOf("image-v1.68.2"), digestOf("image-v1.70.1")
	f := platform(t, ".:sha256-"+old.Encoded()+".att old-att", ".:sha256-"+fresh.Encoded()+".sig new-sig", ".:sha256-"+fresh.Encoded()+" fallback",
		".:v1.68.2.att tag-att", ".:v1.70.1.att tag-att-2", ".:sha256-"+digestOf("elsewhere").Encoded()+".att unknown",
		".:- referrer ^image-v1.68.2", ".:mine tagged-referrer ^image-v1.68.2", ".:-- named", ".:HEX declared-by-nobody")
	got := map[string]int{}
	o, err := prune.Decide(f, prune.Policy{Deployed: "v1.70.1"}, prune.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	contents := map[digest.Digest]string{}
	for _, name := range []string{"shared", "image-v1.68.2", "image-v1.70.1", "old-att", "new-sig", "fallback", "tag-att", "tag-att-2", "unknown", "referrer", "tagged-referrer", "named", "declared-by-nobody"} {
		contents[digestOf(name)] = name
	}
	reasons := map[string]string{}
	for _, x := range o.Decisions {
		if name := contents[x.Digest]; name != "" {
			reasons[name] = fmt.Sprint(x.Keep, " ", x.Reason.Rule)
			got[name]++
		}
	}
	for name, want := range map[string]string{
		"shared": "true declared", "image-v1.68.2": "false declared-by-what-goes", "image-v1.70.1": "true declared",
		"old-att": "false refers-to-what-goes", "new-sig": "true referrer", "fallback": "true referrer",
		"tag-att": "false refers-to-what-goes", "tag-att-2": "true referrer", "unknown": "true unknown-subject",
		"referrer": "false refers-to-what-goes", "tagged-referrer": "false refers-to-what-goes", "declared-by-nobody": "true not-declared",
	} {
		if reasons[name] != want {
			t.Errorf("decision about %s = %q, want %q", name, reasons[name], want)
		}
	}
	// If the list of a kept release of the platform cannot be read, it may declare any image of the root. So
	// even images that only removed releases declare are kept.
	f.Releases[2].Unreadable = "cannot be read"
	if got := decided(t, f, prune.Policy{Deployed: "v1.70.1"}); got[".:+HEX"].Rule == "" || got[".:HEX"].Rule != "" {
		t.Errorf("with an unreadable list: decisions %v, want all images .:HEX kept", got)
	}
}

// Every policy keeps the versions that no kept version supersedes.
func TestUnsupersededVersionsAreKept(t *testing.T) {
	f := factsOf(t, "app:v1.0.0 one", "app:v1.1.0 two", "app:v1.2.0 three", "app:v2.0.0-rc1 rc", "app:stable other", "app:- nameless", "app:-stable replaced", "only:v1.0.0 x",
		"index:v1.0.0 child", "index:v1.1.0 newer >child", "index:v0.9.0 old", "both:v1.0.0,latest b", "both:v1.1.0 c", "spelled:2.0.0 p", "spelled:v2.0.0 q", "spelled:v1.0.0 r",
		"lost:v1.0.0 l", "lost:v1.1.0 m !missing", "modules/m/extra/tool:v1.0.0 e", "modules/m/extra/tool:v1.1.0 f")
	got := decided(t, f, prune.Policy{KeepNewest: 1})
	for name, want := range map[string]prune.Rule{
		"app:v1.0.0": prune.Superseded, "app:v1.1.0": prune.Superseded, "app:+v1.2.0": prune.KeptNewest, "app:+v2.0.0-rc1": prune.KeptNewest,
		"app:+stable": prune.NotAVersion, "app:+-": prune.ByDigest, "app:-": prune.Replaced, "only:+v1.0.0": prune.KeptNewest,
		"index:+v1.0.0": prune.PartOf, "index:+v1.1.0": prune.KeptNewest, "index:v0.9.0": prune.Superseded, "both:+latest": prune.NotAVersion,
		"spelled:+2.0.0": prune.KeptNewest, "spelled:+v2.0.0": prune.KeptNewest, "spelled:v1.0.0": prune.Superseded,
		"lost:+v1.0.0": prune.Unclear, "modules/m/extra/tool:+v1.0.0": prune.NotDeclared,
	} {
		if got[name].Rule != want {
			t.Errorf("rule for %s = %q, want %q", name, got[name].Rule, want)
		}
	}
	if why := got["app:v1.0.0"]; why.By != "v1.2.0" || why.String() != "superseded by v1.2.0" {
		t.Errorf("reason for app:v1.0.0 = %+v, want that v1.2.0 supersedes it", why)
	}
	// No rule of this policy keeps the newest version, but it is kept, as no version supersedes it.
	if got := decided(t, f, prune.Policy{Keep: []string{"app:v1.0.0"}}); got["app:+v1.0.0"].Rule != prune.KeptGlob || got["app:+v1.2.0"].Rule != prune.NotSuperseded || got["app:v1.1.0"].Rule != prune.Superseded || got["index:+v0.9.0"].Rule != prune.NoRule {
		t.Errorf("decisions = %v; want app:v1.0.0 kept by --keep, app:v1.2.0 as not superseded and index:v0.9.0 without a rule, and app:v1.1.0 superseded", got)
	}
}

// A referrer is kept or removed together with its subject. This holds even if a newer version supersedes the
// referrer, or if only a removed release declares it.
func TestReferrersFollowTheirSubject(t *testing.T) {
	for _, at := range []string{"app:HEX", "app:v1.3.0"} {
		for _, needed := range []bool{true, false} {
			kept := "app:v1.4.0 new"
			if needed {
				kept += " >base"
			}
			f := factsOf(t, kept, at+" referrer ^base", "app:v1.2.0 old >base")
			f.Releases = []prune.Release{{Of: "modules/m", Tag: "v1.0.0", Declared: []prune.Place{{Repository: "app", Reference: digestOf("referrer").String()}}}}
			got := decided(t, f, prune.Policy{KeepNewest: 1})
			name := strings.TrimPrefix(at, "app:")
			if _, stays := got["app:+"+name]; stays != needed || got["app:v1.2.0"].Rule != prune.Superseded {
				t.Errorf("%s: the decisions are %v; want the referrer kept: %v, and the image v1.2.0 superseded", at, got, needed)
			}
		}
	}
}

func TestKeepBundleKeepsListedImages(t *testing.T) {
	f := factsOf(t, "app:v1.0.0 one", "app:v1.1.0 two", "app:v1.2.0 three", "other:v1.0.0 x", "other:v1.1.0 y")
	p := prune.Policy{KeepBundles: []string{"june.json"}, Bundles: []prune.Bundle{{Name: "june.json", Images: map[string]map[digest.Digest]bool{"app": {digestOf("one"): true}}}}}
	got := decided(t, f, p)
	if got["app:+v1.0.0"].String() != "--keep-bundle june.json" || got["app:v1.1.0"].Rule != prune.Superseded || got["app:+v1.2.0"].Rule != prune.NotSuperseded || got["other:+v1.0.0"].Rule != prune.NoRule {
		t.Errorf("decisions = %v; want app:v1.0.0 kept by --keep-bundle, app:v1.2.0 as not superseded and other:v1.0.0 without a rule, and app:v1.1.0 superseded", got)
	}
}

func TestPolicyCheckReportsErrors(t *testing.T) {
	for _, c := range []struct {
		p    prune.Policy
		want error
	}{
		{prune.Policy{}, prune.ErrNoRule}, {prune.Policy{KeepPrevious: 1}, prune.ErrNoDeployed}, {prune.Policy{KeepPrevious: 1, KeepNewest: 1}, prune.ErrNoDeployed},
		{prune.Policy{KeepNewest: -1}, prune.ErrPolicy}, {prune.Policy{Deployed: "v1.70.1", KeepPrevious: -1}, prune.ErrPolicy}, {prune.Policy{OlderThan: -1}, prune.ErrPolicy},
		{prune.Policy{Deployed: "stable"}, prune.ErrPolicy}, {prune.Policy{KeepReleases: []string{"v1.70"}}, prune.ErrPolicy}, {prune.Policy{Keep: []string{"a["}}, prune.ErrPolicy}, {prune.Policy{Keep: []string{""}}, prune.ErrPolicy},
		{prune.Policy{KeepNewest: 1}, nil}, {prune.Policy{Deployed: "v1.70.1", KeepPrevious: 1}, nil}, {prune.Policy{Keep: []string{"**:v1.*"}}, nil},
	} {
		if err := c.p.Check(); !errors.Is(err, c.want) {
			t.Errorf("Check of the policy %+v = %v, want %v", c.p, err, c.want)
		}
	}
}

// For random facts, the graph of each kept image is kept. For each removed version, a higher one is
// kept in its repository. An additional rule never removes more images.
func TestDecisionsForRandomFacts(t *testing.T) {
	removed := 0
	for seed := range rounds(100, 20000) {
		r := rand.New(rand.NewPCG(29, uint64(seed)))
		var lines []string
		for range 2 + r.IntN(20) {
			at := pick(r, "app", ".", "modules/m", "modules/m/extra/tool")
			line := fmt.Sprintf("%s:%s %d", at, pick(r, fmt.Sprintf("v1.%d.0", r.IntN(9)), "HEX", "stable", "-", "-stable", "sha256-"+digestOf(fmt.Sprint(r.IntN(20))).Encoded()+".sig"), r.IntN(20))
			if r.IntN(3) == 0 {
				line += fmt.Sprintf(" >%d", 20+r.IntN(20)) // children have higher numbers, so there are no cycles
			}
			if r.IntN(4) == 0 {
				line += fmt.Sprintf(" ^%d", 20+r.IntN(40))
			}
			if r.IntN(20) == 0 {
				line += " !missing"
			}
			if !slices.ContainsFunc(lines, func(have string) bool {
				return strings.HasPrefix(have, strings.Fields(line)[0]+" ") || strings.HasPrefix(have, at+":") && strings.Fields(have)[1] == strings.Fields(line)[1]
			}) {
				lines = append(lines, line)
			}
		}
		f := factsOf(t, lines...)
		for i := range r.IntN(3) {
			place := func() prune.Place {
				x := f.Repositories[r.IntN(len(f.Repositories))]
				return prune.Place{Repository: x.Path, Reference: x.Images[r.IntN(len(x.Images))].Digest.String()}
			}
			f.Releases = append(f.Releases, prune.Release{Of: "modules/m", Tag: fmt.Sprintf("v1.%d.0", i), Own: []prune.Place{place()}, Declared: []prune.Place{place(), place()}})
		}
		p := prune.Policy{KeepNewest: 1 + r.IntN(2)}
		o, err := prune.Decide(f, p, prune.Scope{})
		if err != nil {
			t.Fatal(err)
		}
		more, err := prune.Decide(f, prune.Policy{KeepNewest: p.KeepNewest, Keep: []string{pick(r, "app", "modules/**", "**:v1.3.*")}}, prune.Scope{})
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range o.Decisions {
			if !x.Keep {
				removed++
			}
			if x.Keep && !more.Decisions[i].Keep {
				t.Errorf("seed %d: %+v is kept; with an additional rule, the decision is %+v, want it kept", seed, x, more.Decisions[i])
			}
			checkDecision(t, seed, f, o, x)
		}
		if t.Failed() {
			t.Fatal(strings.Join(lines, "\n"))
		}
	}
	if removed < 100 {
		t.Errorf("all rounds together removed %d images, want at least 100", removed)
	}
}

func checkDecision(t *testing.T, seed int, f prune.Facts, o prune.Outcome, x prune.Decision) {
	t.Helper()
	i := slices.IndexFunc(f.Repositories, func(r *prune.Repository) bool { return r.Path == x.Repository })
	m := f.Repositories[i].Manifests[x.Digest]
	content := o.Content[x.Repository]
	if content[x.Digest] != x.Keep {
		t.Errorf("seed %d: the decision is %+v; Outcome.Content has the image: %v, want %v", seed, x, content[x.Digest], x.Keep)
	}
	if x.Keep {
		for _, d := range append(slices.Clone(m.Blobs), m.Children...) {
			if !content[d] {
				t.Errorf("seed %d: %+v is kept and needs %s, which is removed; want that kept", seed, x, d)
			}
		}
		if _, known := f.Repositories[i].Manifests[m.Subject]; known && !content[m.Subject] {
			t.Errorf("seed %d: %+v is kept and its subject is removed; want the subject kept", seed, x)
		}
		return
	}
	if content[m.Subject] {
		t.Errorf("seed %d: %+v is removed and its subject is kept; want the image kept", seed, x)
	}
	for _, tag := range x.Tags {
		if tag == "stable" || tag == x.Digest.Encoded() && x.Reason.Rule != prune.DeclaredByGone {
			t.Errorf("seed %d: %+v is removed, want it kept because of its tag %s", seed, x, tag)
		}
	}
	if x.Reason.Rule == prune.Superseded && !slices.ContainsFunc(o.Decisions, func(y prune.Decision) bool {
		return y.Repository == x.Repository && y.Keep && slices.Contains(y.Tags, x.Reason.By) && x.Reason.By > x.Tags[0] // these versions have one digit, so they can be compared as text
	}) {
		t.Errorf("seed %d: %+v is removed; want a kept version that supersedes it", seed, x)
	}
}
