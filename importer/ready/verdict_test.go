package ready

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

func completeImage(name, repository, reference string) Image {
	d := digest.Digest(reference)
	if d.Validate() != nil {
		d = digest.FromString(repository + ":" + reference)
	}
	return Image{Name: name, Repository: repository, Reference: reference, Presence: Presence{State: Complete, Digest: d, Content: []Content{{d, 10}, {digest.FromString("shared"), 5}}}}
}

func withState(i Image, s State, problems ...problem.Problem) Image {
	i.Presence = Presence{State: s, Problems: problems}
	return i
}

func declared(module, name string) Image {
	i := completeImage(name, ".", digest.FromString(module+"/"+name).String())
	i.Module = module
	return i
}

func completeBuild(tag string) Build {
	return Build{Tag: tag, Platform: completeImage("platform image", ".", tag), Installer: completeImage("installer", "install", tag), Standalone: completeImage("stand-alone installer", "install-standalone", tag),
		Entry: completeImage("release-channel entry", "release-channel", tag), Declared: []Image{declared("common", "pause"), declared("ingressNginx", "controller")}}
}

func completeModule(name string) Module {
	image := completeImage("version v1.1.0", "modules/"+name, "v1.1.0")
	image.Module = name
	return Module{Name: name, Tags: []string{"v1.0.0", "v1.1.0"}, Channels: []Channel{{Name: "stable", Target: "v1.1.0", Here: true, Image: completeImage("release channel stable", "modules/"+name+"/release", "stable")}},
		Versions: []ModuleVersion{{Tag: "v1.1.0", Image: image, Entry: completeImage("release v1.1.0", "modules/"+name+"/release", "v1.1.0"), Declared: []Image{declared(name, "agent")}}}}
}

func complete() Facts {
	return Facts{Deckhouse: true, Here: []string{"v1.69.3", "v1.70.1"}, Builds: []Build{completeBuild("v1.69.3"), completeBuild("v1.70.1")}, Modules: []Module{completeModule("console")},
		Channels: []Channel{{Name: "stable", Target: "v1.69.3", Here: true, Image: completeImage("release channel stable", "release-channel", "stable")}}, Databases: []Image{completeImage("trivy-db", "security/trivy-db", "2")}}
}

// linesOf returns a verdict as lines. If the verdict is ready, the first line is "ready". Then follow a
// line that begins with "!" for each reason, and a line that begins with "-" for each note.
func linesOf(v Verdict) (lines []string) {
	add := func(mark, at string, all []Reason) {
		for _, r := range all {
			lines = append(lines, mark+" "+at+": "+r.String())
		}
	}
	if v.Ready {
		lines = append(lines, "ready")
	}
	for _, x := range v.Versions {
		add("!", x.Version, x.Reasons)
		add("-", x.Version, x.Notes)
		if x.Ready != (len(x.Reasons) == 0) {
			lines = append(lines, x.Version+": the field Ready contradicts the reasons")
		}
	}
	for _, m := range v.Modules {
		add("-", m.Name, m.Notes)
	}
	for _, c := range v.Channels {
		if c.Detail != "" {
			lines = append(lines, "- "+c.Channel+": "+c.Detail)
		}
	}
	add("-", "all", v.Notes)
	return lines
}

func constrained(texts ...string) (s release.Selector) {
	all, err := release.ParseSelectors(texts)
	if err != nil {
		panic(err)
	}
	for _, s = range all {
	}
	return s
}

// Judge reports each gap in the facts. Each case of this test changes complete facts in one way, and lists
// the expected reasons and notes.
func TestJudgeReportsMissingFacts(t *testing.T) {
	lost := problem.Problem{Kind: problem.Incomplete, Path: "platform.tar", Entry: "blobs/x", Chunks: []string{"chunk 0003"}, Reason: "missing"}
	missing := func(i *Image) { *i = withState(*i, Missing, lost) }
	const why = ": platform.tar: blobs/x: missing: copy chunk 0003 again"
	for name, test := range map[string]struct {
		change   func(f *Facts)
		question Question
		want     []string
	}{
		"complete":        {func(*Facts) {}, Question{}, []string{"ready"}},
		"no facts at all": {func(f *Facts) { *f = Facts{} }, Question{}, []string{"ready"}},
		"only modules":    {func(f *Facts) { f.Builds = nil }, Question{}, []string{"ready"}},
		"only a module, which clusters cannot find": {func(f *Facts) { f.Builds, f.Modules[0].Undiscoverable = nil, true }, Question{}, nil},
		"the platform":  {func(f *Facts) { missing(&f.Builds[0].Platform) }, Question{}, []string{"! v1.69.3: missing platform image: v1.69.3" + why}},
		"the installer": {func(f *Facts) { missing(&f.Builds[0].Installer) }, Question{}, []string{"! v1.69.3: missing installer: install:v1.69.3" + why}},
		"the entry":     {func(f *Facts) { missing(&f.Builds[0].Entry) }, Question{}, []string{"! v1.69.3: missing release-channel entry: release-channel:v1.69.3" + why}},
		"the entry of a build that is not a version": {func(f *Facts) { f.Builds[0].Tag = "pr42"; missing(&f.Builds[0].Entry) }, Question{}, []string{"ready"}},
		"the stand-alone installer":                  {func(f *Facts) { missing(&f.Builds[0].Standalone) }, Question{}, []string{"ready", "- v1.69.3: missing stand-alone installer: install-standalone:v1.69.3" + why}},
		"an image":                                   {func(f *Facts) { missing(&f.Builds[0].Declared[0]) }, Question{}, []string{"! v1.69.3: missing module common image pause: " + declared("common", "pause").Reference + why}},
		"an image of another version":                {func(f *Facts) { missing(&f.Builds[0].Declared[0]) }, Question{Releases: []string{"1.70.1"}}, []string{"ready", "! v1.69.3: missing module common image pause: " + declared("common", "pause").Reference + why}},
		"a damaged image":                            {func(f *Facts) { i := &f.Builds[0].Declared[0]; *i = withState(*i, Damaged) }, Question{}, []string{"! v1.69.3: damaged module common image pause: " + declared("common", "pause").Reference}},
		"an unreadable installer":                    {func(f *Facts) { b := &f.Builds[0]; b.noteUnreadable(b.Installer, errors.New("no tar")) }, Question{}, []string{"! v1.69.3: the declarations of install:v1.69.3 cannot be read: no tar"}},
		"a database":                                 {func(f *Facts) { missing(&f.Databases[0]) }, Question{}, []string{"ready", "- all: missing trivy-db: security/trivy-db:2" + why}},
		"no database": {func(f *Facts) {
			f.Databases = []Image{{Name: "trivy-db", Presence: Presence{State: Missing}}, {Name: "trivy-bdu", Presence: Presence{State: Missing}}}
		}, Question{}, []string{"ready", "- all: no vulnerability databases: pull --no-security-db skips them, and not every edition has them"}},
		"a hidden tag":                            {func(f *Facts) { f.Hidden = []problem.Problem{lost} }, Question{Releases: []string{"v1.70.1"}}, []string{"! v1.69.3: versions and modules may be hidden" + why, "! v1.70.1: versions and modules may be hidden" + why}},
		"a channel":                               {func(f *Facts) { missing(&f.Channels[0].Image) }, Question{}, []string{"ready", "- stable: missing release channel stable: release-channel:stable" + why}},
		"an unreadable channel":                   {func(f *Facts) { f.Channels[0].Unreadable = "no JSON" }, Question{}, []string{"ready", "- stable: no JSON"}},
		"a channel with a missing version":        {func(f *Facts) { f.Channels[0].Target, f.Channels[0].Here = "v1.71.0", false }, Question{}, []string{"ready", "- stable: points at v1.71.0, which is missing"}},
		"an absent version":                       {func(*Facts) {}, Question{Releases: []string{"v1.70.1", "v1.71.0"}}, []string{"! v1.71.0: v1.71.0 is missing: available: v1.69.3, v1.70.1"}},
		"an absent version, and no other version": {func(f *Facts) { f.Builds, f.Here = nil, nil }, Question{Releases: []string{"v1.71.0"}}, []string{"! v1.71.0: v1.71.0 is missing: there is no version of the platform"}},
		"a required module": {func(f *Facts) {
			f.Builds[0].Requirements = release.Requirements{"migratedModules": "console, csi", "k8s": "1.27"}
		}, Question{}, []string{"! v1.69.3: module csi is missing: version.json requires it"}},
		"a platform list equal to the installer's": {func(f *Facts) { f.Builds[0].Own = f.Builds[0].Declared }, Question{}, []string{"ready"}},
		"an unreadable platform list":              {func(f *Facts) { f.Builds[0].OwnUnreadable = "no tar" }, Question{}, []string{"ready", "- v1.69.3: the platform image's own list of images cannot be compared with the installer's: no tar"}},
		"a different platform list": {func(f *Facts) { f.Builds[0].Own = []Image{declared("common", "pause"), declared("common", "new")} }, Question{}, []string{"ready",
			"- v1.69.3: only the list of the platform image declares module common image new as " + declared("common", "new").Reference,
			"- v1.69.3: only the list of the installer declares module ingressNginx image controller as " + declared("ingressNginx", "controller").Reference}},
		"a missing image that only the platform list declares": {func(f *Facts) {
			f.Builds[0].Own = append(f.Builds[0].Declared[:2:2], withState(declared("common", "new"), Missing))
		}, Question{}, []string{
			"! v1.69.3: missing module common image new: " + declared("common", "new").Reference,
			"- v1.69.3: only the list of the platform image declares module common image new as " + declared("common", "new").Reference}},
		"a platform list, but a missing installer": {func(f *Facts) {
			b := &f.Builds[0]
			missing(&b.Installer)
			b.Declared, b.Own = nil, []Image{declared("common", "pause"), withState(declared("common", "new"), Missing)}
		}, Question{}, []string{
			"! v1.69.3: missing installer: install:v1.69.3" + why,
			"! v1.69.3: missing module common image new: " + declared("common", "new").Reference}},
		"a platform list, but an installer whose list cannot be read": {func(f *Facts) {
			b := &f.Builds[0]
			b.noteUnreadable(b.Installer, errors.New("no tar"))
			b.Declared, b.Own = b.Declared[:1], b.Declared
		}, Question{}, []string{"! v1.69.3: the declarations of install:v1.69.3 cannot be read: no tar"}},
		"a module":              {func(f *Facts) { f.Modules[0].Tags = nil }, Question{Releases: []string{"v1.70.1"}}, []string{"! v1.69.3: module console is missing", "! v1.70.1: module console is missing"}},
		"a version of a module": {func(f *Facts) { f.Builds = f.Builds[:1]; missing(&f.Modules[0].Versions[0].Image) }, Question{}, []string{"! v1.69.3: missing module console image version v1.1.0: modules/console:v1.1.0" + why}},
		"an image of a module":  {func(f *Facts) { f.Builds = f.Builds[:1]; missing(&f.Modules[0].Versions[0].Declared[0]) }, Question{}, []string{"! v1.69.3: missing module console image agent: " + declared("console", "agent").Reference + why}},
		"an image that two versions declare": {func(f *Facts) {
			f.Builds = f.Builds[:1]
			missing(&f.Modules[0].Versions[0].Declared[0])
			f.Modules[0].Versions = append(f.Modules[0].Versions, f.Modules[0].Versions[0])
		}, Question{}, []string{"! v1.69.3: missing module console image agent: " + declared("console", "agent").Reference + why}},
		"an unreadable module": {func(f *Facts) {
			f.Builds = f.Builds[:1]
			v := &f.Modules[0].Versions[0]
			v.Unreadable = []Unreadable{{v.Image, "no JSON"}}
		}, Question{}, []string{"! v1.69.3: the declarations of modules/console:v1.1.0 cannot be read: no JSON"}},
		"a release of a module":           {func(f *Facts) { missing(&f.Modules[0].Versions[0].Entry) }, Question{}, []string{"ready", "- console: missing release v1.1.0: modules/console/release:v1.1.0" + why}},
		"the channels of a module":        {func(f *Facts) { f.Builds = f.Builds[:1]; f.Modules[0].Channels = nil }, Question{}, []string{"! v1.69.3: module console has no release channel"}},
		"a channel of a module":           {func(f *Facts) { f.Builds = f.Builds[:1]; missing(&f.Modules[0].Channels[0].Image) }, Question{}, []string{"! v1.69.3: missing release channel stable: modules/console/release:stable" + why}},
		"a malformed channel of a module": {func(f *Facts) { f.Builds = f.Builds[:1]; f.Modules[0].Channels[0].Unreadable = "no JSON" }, Question{}, []string{"! v1.69.3: the declarations of modules/console/release:stable cannot be read: no JSON"}},
		"a discovery tag":                 {func(f *Facts) { f.Builds = f.Builds[:1]; f.Modules[0].Undiscoverable = true }, Question{}, []string{"! v1.69.3: clusters cannot find module console: repository \"modules\" has no tag console"}},
		"satisfied constraints":           {func(f *Facts) { f.Modules[0].Want = constrained("console@^1.0.0", "console@=1.0.0") }, Question{}, []string{"ready"}},
		"unsatisfied constraints": {func(f *Facts) {
			f.Builds = f.Builds[:1]
			f.Modules[0].Want = constrained("console@^2.0.0", "console@=pr1")
		}, Question{}, []string{"! v1.69.3: module console has no version ^2.0.0", "! v1.69.3: module console has no version =pr1"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := complete()
			test.change(&f)
			if diff := cmp.Diff(test.want, linesOf(Judge(f, test.question))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A cluster is upgraded one minor version at a time, and always to its highest patch. The release controller
// of deckhouse/deckhouse does the same.
func TestUpgradeSteps(t *testing.T) {
	for name, test := range map[string]struct {
		here  string // available versions; "!" marks a version that is not complete
		from  string
		asked string
		want  string // expected reasons and notes
		isBad bool
	}{
		"the same":                              {"v1.75.0", "v1.75.0", "", "", false},
		"a patch":                               {"v1.75.9", "v1.75.0", "", "", false},
		"the next":                              {"v1.76.0", "v1.75.4", "", "", false},
		"a skipped minor version":               {"v1.77.2", "v1.75.0", "", "v1.75 → v1.77 needs v1.76, which is missing", true},
		"three skipped minor versions":          {"v1.79.2", "v1.75.0", "", "v1.75 → v1.79 needs v1.76 to v1.78, which are missing", true},
		"a step":                                {"v1.76.1 v1.77.2", "v1.75.0", "", "", false},
		"two separate skipped minor versions":   {"v1.77.0 v1.79.0", "v1.75.0", "v1.79.0", "v1.75 → v1.79 needs v1.76, which is missing; v1.75 → v1.79 needs v1.78, which is missing", true},
		"an incomplete step":                    {"v1.76.1! v1.77.2", "v1.75.0", "v1.77.2", "v1.75 → v1.77 needs v1.76.1, which is not ready", true},
		"an incomplete highest patch of a step": {"v1.76.1 v1.76.2! v1.77.2", "v1.75.0", "v1.77.2", "v1.75 → v1.77 needs v1.76.2, which is not ready", true},
		"an incomplete lower patch of a step":   {"v1.76.1! v1.76.2 v1.77.2", "v1.75.0", "v1.77.2", "", false},
		"a preview is no step":                  {"v1.76.0-rc.1 v1.77.2", "v1.75.0", "v1.77.2", "v1.75 → v1.77 needs v1.76, which is missing", true},
		"an older version, not requested":       {"v1.74.0 v1.75.1", "v1.75.0", "", "v1.74.0 is older than v1.75.0, and Deckhouse does not downgrade", false},
		"only older versions":                   {"v1.73.0 v1.74.0", "v1.75.0", "", "v1.73.0 is older than v1.75.0, and Deckhouse does not downgrade; v1.74.0 is older than v1.75.0, and Deckhouse does not downgrade", true},
		"an older version, requested":           {"v1.74.0", "v1.75.0", "v1.74.0", "v1.74.0 is older than v1.75.0, and Deckhouse does not downgrade", true},
		"another major version":                 {"v2.0.0", "v1.75.0", "", "v1.75.0 and v2.0.0 have different major versions, and Deckhouse does not upgrade between them", true},
		"from major version 0 to 1":             {"v1.0.0", "v0.9.0", "", "", false},
		"a tag":                                 {"pr42", "v1.75.0", "", "pr42 is not a version, so it is unknown whether v1.75.0 can be upgraded to it", true},
		"no from":                               {"v1.77.2", "", "", "", false},
		"very many skipped minor versions":      {"v1.18446744073709551615.0", "v1.75.0", "", "v1.75 → v1.18446744073709551615 needs v1.76 to v1.18446744073709551614, which are missing", true},
	} {
		f := Facts{Deckhouse: true}
		for tag := range strings.FieldsSeq(test.here) {
			tag, broken := strings.CutSuffix(tag, "!")
			b := completeBuild(tag)
			if broken {
				b.Platform = withState(b.Platform, Missing)
			}
			f.Builds, f.Here = append(f.Builds, b), append(f.Here, tag)
		}
		q := Question{From: test.from}
		if test.asked != "" {
			q.Releases = []string{test.asked}
		}
		v := Judge(f, q)
		var got []string
		for _, x := range v.Versions {
			for _, r := range append(x.Reasons, x.Notes...) {
				if r.Kind != MissingPlatform && (x.Asked || r.Kind == OlderVersion) {
					got = append(got, r.String())
				}
			}
		}
		if strings.Join(got, "; ") != test.want || v.Ready == test.isBad {
			t.Errorf("%s: got Ready = %v and the reasons %q, want %v and %q", name, v.Ready, strings.Join(got, "; "), !test.isBad, test.want)
		}
	}
}

// A digest that several images share is counted once. In the size, a shared blob is counted once, too.
func TestSharedContentIsCountedOnce(t *testing.T) {
	f := complete()
	byTag := completeImage("old", ".", "old-tag")
	byTag.Module, byTag.Digest = "common", digest.Digest(declared("common", "pause").Reference)
	f.Builds[1].Declared = append(f.Builds[1].Declared, byTag)
	v := Judge(f, Question{})
	if v.ExpectedDigests != 3 || v.Versions[1].ExpectedDigests != 2 || v.Versions[1].DeclaredImages != 3 || v.Versions[0].Bytes != 6*10+5 {
		t.Errorf("verdict = %+v; want 3 digests, 2 digests of 3 images in the second version, and 65 bytes in the first", v)
	}
}

// The JSON of a verdict has no null lists. The JSON of a reason has all fields and the text.
func TestVerdictAsJSON(t *testing.T) {
	f := complete()
	f.Builds[0].Declared[0] = withState(f.Builds[0].Declared[0], Missing)
	for name, facts := range map[string]Facts{"a bundle": f, "nothing": {}} {
		b, err := json.Marshal(Judge(facts, Question{Releases: []string{"v9.0.0"}}))
		if err != nil || strings.Contains(string(b), "null") {
			t.Errorf("JSON of the verdict on %s: got error %v and %s, want JSON without null", name, err, b)
		}
	}
	b, _ := json.Marshal(Judge(f, Question{}).Versions[0].Reasons[0])
	ref := declared("common", "pause").Reference
	want := `{"kind":"missing-image","module":"common","image":"pause","repository":".","reference":"` + ref + `","state":"missing","text":"missing module common image pause: ` + ref + `"}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Error(diff)
	}
}

func TestVerdictAsText(t *testing.T) {
	f := complete()
	f.Builds[0].Declared[0] = withState(f.Builds[0].Declared[0], Missing)
	f.Builds[0].Requirements = release.Requirements{"k8s": "1.27"}
	f.Modules[0].Undiscoverable = true
	f.Databases[0] = withState(f.Databases[0], Missing)
	for name, test := range map[string]struct {
		facts Facts
		q     Question
		want  string
	}{
		"a bundle": {f, Question{Releases: []string{"v1.70.1"}}, `v1.69.3: not complete: 2 declared images, 55 B
  missing module common image pause: ` + declared("common", "pause").Reference + `
  1 reason for every version, listed below
  the cluster needs: k8s 1.27
v1.70.1: not ready: 2 declared images, 65 B
  1 reason for every version, listed below
module console: not complete: v1.0.0, v1.1.0 (stable v1.1.0)
  clusters cannot find module console: repository "modules" has no tag console
note: missing trivy-db: security/trivy-db:2
3 distinct declared digests; not ready: v1.70.1
`},
		"only modules": {Facts{Deckhouse: true, Modules: complete().Modules, Channels: []Channel{{Name: "lts", Unreadable: "no JSON", Image: completeImage("", "release-channel", "lts")}}, Hidden: []problem.Problem{{Path: "a.tar", Reason: "cut"}}}, Question{}, `there is no version of the platform
every version:
  versions and modules may be hidden: a.tar: cut
module console: complete: v1.0.0, v1.1.0 (stable v1.1.0)
release channel lts: no JSON
1 distinct declared digest; not ready
`},
		"not Deckhouse": {Facts{}, Question{}, "no image declares which other images it needs: this is not a bundle of Deckhouse\n"},
		"hidden":        {Facts{Hidden: []problem.Problem{{Path: "a.tar", Reason: "chunk 0001 is missing"}}}, Question{}, "no image declares which other images it needs: this is not a bundle of Deckhouse\n  versions and modules may be hidden: a.tar: chunk 0001 is missing\n"},
	} {
		var b strings.Builder
		if err := Judge(test.facts, test.q).WriteText(&b); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(test.want, b.String()); diff != "" {
			t.Errorf("text of the verdict on %s (-want +got): %s", name, diff)
		}
	}
}

func TestParseModules(t *testing.T) {
	all, err := ParseModules([]byte("# ours\nconsole\n\n stronghold@^1 \nstronghold@=v2.0.0\r\n"))
	if err != nil || len(all) != 2 || !all["console"].All || len(all["stronghold"].Ranges) != 1 || len(all["stronghold"].Pins) != 1 {
		t.Errorf("ParseModules = %+v, error %v; want console, and stronghold with 1 range and 1 pin", all, err)
	}
	for file, want := range map[string]string{"console\nA B": "line 2: ", "x@=v1+stable": `line 1: "x@=v1+stable": a channel is not allowed`, strings.Repeat("a", 1<<20): "too long"} {
		if _, err := ParseModules([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseModules(%.20q): got error %v, want one that contains %q", file, err, want)
		}
	}
}

func FuzzModulesFile(f *testing.F) {
	f.Add([]byte("a\nb@^1\n# c\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		all, err := ParseModules(file)
		for name, s := range all {
			if err != nil || name != s.Name || !release.IsName(name) {
				t.Fatalf("ParseModules: module %q has the selector %+v, error %v; want a valid name, the same in the selector, and no error", name, s, err)
			}
		}
	})
}

// The text of a reason names the module, the image and its reference. A tag that is not a version
// satisfies no range.
func TestReasonText(t *testing.T) {
	hex := digest.FromString("x").String()
	for want, r := range map[string]Reason{
		"missing module console image agent: modules/console:v1": {State: Missing, Module: "console", Image: "agent", Repository: "modules/console", Reference: "v1"},
		"missing module console: modules/console@" + hex:         {State: Missing, Module: "console", Repository: "modules/console", Reference: hex},
		"missing installer: install:v1":                          {State: Missing, Image: "installer", Repository: "install", Reference: "v1"},
		"missing platform image: " + hex:                         {State: Missing, Image: "platform image", Repository: ".", Reference: hex},
	} {
		if r.Kind = MissingImage; r.String() != want {
			t.Errorf("String = %q, want %q", r.String(), want)
		}
	}
	c, err := release.ParseConstraint(">=1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	for tag, want := range map[string]bool{"v1.0.0": true, "v0.9.0": false, "stable": false, "": false} {
		if fits(c, tag) != want {
			t.Errorf("%q satisfies >=1.0.0: got %v, want %v", tag, !want, want)
		}
	}
}
