package ready

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Question says which versions to judge. The zero value asks about every available version.
type Question struct {
	Releases []string // requested versions; empty means all available ones

	From string // current version of the cluster; empty for a new installation
}

// Verdict says which versions are ready, and why the rest is not.
type Verdict struct {
	Ready bool `json:"ready"` // whether every requested version is ready

	Deckhouse bool `json:"deckhouse"` // same as in [Facts]

	// ExpectedDigests is the number of different digests that all judged versions and modules declare.
	ExpectedDigests int              `json:"expectedDigests"`
	Versions        []VersionVerdict `json:"versions"`
	Modules         []ModuleVerdict  `json:"modules"`
	Channels        []ChannelVerdict `json:"channels"`
	Notes           []Reason         `json:"notes"`
	// Hidden has the reasons that apply to every version, because problems may hide tags.
	Hidden []Reason `json:"hidden"`
}

// VersionVerdict is the verdict on one version of the platform.
type VersionVerdict struct {
	Version         string   `json:"version"`
	Asked           bool     `json:"asked"` // whether it was requested; other versions are steps of an upgrade
	Ready           bool     `json:"ready"`
	DeclaredImages  int      `json:"declaredImages"`
	ExpectedDigests int      `json:"expectedDigests"`
	Bytes           int64    `json:"bytes"` // size of the complete images, with shared blobs counted once
	Reasons         []Reason `json:"reasons"`
	Notes           []Reason `json:"notes"`
	// Requirements lists what the version requires of the cluster.
	Requirements []string `json:"requirements"`
}

// ModuleVerdict is the verdict on one module. Its reasons also apply to every version of the platform.
type ModuleVerdict struct {
	Name     string            `json:"name"`
	Ready    bool              `json:"ready"`
	Versions []string          `json:"versions"`
	Channels map[string]string `json:"channels"`
	Reasons  []Reason          `json:"reasons"`
	Notes    []Reason          `json:"notes"`
}

// ChannelVerdict says to which version a release channel of the platform points.
type ChannelVerdict struct {
	Channel string `json:"channel"`
	Version string `json:"version"`
	Here    bool   `json:"here"` // whether the version is available
	Detail  string `json:"detail,omitempty"`
}

// Judge answers a question from facts. It is a pure function: it reads nothing else.
func Judge(f Facts, q Question) Verdict {
	j := judge{facts: f, question: q, modules: map[string]bool{}}
	v := Verdict{Deckhouse: f.Deckhouse, Versions: []VersionVerdict{}, Modules: []ModuleVerdict{}, Channels: judgeChannels(f.Channels), Notes: []Reason{}, Hidden: []Reason{}}
	var declared []Image
	for _, m := range f.Modules {
		for _, x := range m.Versions {
			declared = append(declared, x.Declared...)
		}
		verdict := judgeModule(m)
		j.modules[m.Name] = len(m.Tags) > 0
		j.shared = append(j.shared, verdict.Reasons...)
		v.Modules = append(v.Modules, verdict)
	}
	for _, p := range f.Hidden {
		v.Hidden = append(v.Hidden, Reason{Kind: HiddenTags, Problems: firstProblems([]problem.Problem{p})})
	}
	j.shared = append(j.shared, v.Hidden...)
	for _, b := range f.Builds {
		declared = append(declared, b.Declared...)
		v.Versions = append(v.Versions, j.build(b))
	}
	j.judgeSteps(v.Versions)
	v.Versions = append(v.Versions, j.absent()...)
	v.Notes = append(v.Notes, judgeDatabases(f.Databases)...)
	v.ExpectedDigests = countDigests(declared)
	v.Ready = isReady(v, j.shared)
	return v
}

// isReady reports whether every requested version is ready. If no version was requested, it returns
// false if there are versions, which are then all older than the cluster's, or if any reason applies
// to every version.
func isReady(v Verdict, shared []Reason) bool {
	if slices.ContainsFunc(v.Versions, func(x VersionVerdict) bool { return x.Asked }) {
		return !slices.ContainsFunc(v.Versions, func(x VersionVerdict) bool { return x.Asked && !x.Ready })
	}
	return len(v.Versions)+len(shared) == 0
}

type judge struct {
	facts    Facts
	question Question
	modules  map[string]bool // whether a judged module has any version, by the module's name

	shared []Reason // reasons that apply to every version
}

// build judges one version, without the steps of an upgrade to it.
func (j *judge) build(b Build) VersionVerdict {
	v := VersionVerdict{Version: b.Tag, Asked: j.isAsked(b.Tag), DeclaredImages: len(b.Declared), Reasons: []Reason{}, Notes: []Reason{}, Requirements: append([]string{}, b.Requirements.OfCluster()...)}
	need := func(kind Kind, i Image) {
		if i.State != Complete {
			v.Reasons = append(v.Reasons, aboutImage(kind, i))
		}
	}
	need(MissingPlatform, b.Platform)
	need(MissingInstaller, b.Installer)
	if _, isVersion := release.Parse(b.Tag); isVersion {
		need(MissingEntry, b.Entry)
	}
	for _, u := range b.Unreadable {
		v.Reasons = append(v.Reasons, unreadable(u))
	}
	for _, i := range b.Declared {
		need(MissingImage, i)
	}
	for _, name := range b.Requirements.Modules() {
		if !j.modules[name] {
			v.Reasons = append(v.Reasons, Reason{Kind: MissingModule, Module: name, Detail: release.VersionFile + " requires it"})
		}
	}
	j.compareLists(b, &v)
	if b.Standalone.State != Complete {
		v.Notes = append(v.Notes, aboutImage(MissingStandalone, b.Standalone))
	}
	v.Reasons = append(v.Reasons, j.shared...)
	v.Ready = len(v.Reasons) == 0
	v.ExpectedDigests = countDigests(b.Declared)
	v.Bytes = sizeOf(append([]Image{b.Platform, b.Installer, b.Standalone, b.Entry}, b.Declared...))
	return v
}

func unreadable(u Unreadable) Reason {
	r := aboutImage(UnreadableList, u.Image)
	r.Detail = u.Detail
	return r
}

// judgeDatabases returns notes about vulnerability databases that are not complete. If all databases are
// missing without a known reason, it returns only one note. In this case, the pull has skipped them or the
// edition has none.
func judgeDatabases(all []Image) (notes []Reason) {
	if len(all) > 1 && !slices.ContainsFunc(all, func(i Image) bool { return i.State != Missing || len(i.Problems) > 0 }) {
		return []Reason{{Kind: MissingDatabase, Repository: databasesPath, State: Missing}}
	}
	for _, i := range all {
		if i.State != Complete {
			notes = append(notes, aboutImage(MissingDatabase, i))
		}
	}
	return notes
}

// compareLists adds a note for each difference between the platform image's list of images and the
// installer's list, if both could be read. Clusters use the list in the platform image. So images that
// only this list declares are required, even if the installer's list could not be read.
func (j *judge) compareLists(b Build, v *VersionVerdict) {
	if b.OwnUnreadable != "" {
		v.Notes = append(v.Notes, Reason{Kind: UnreadableOwnList, Detail: b.OwnUnreadable})
	}
	if b.Own == nil {
		return
	}
	type entry struct{ module, name, digest string }
	entryOf := func(i Image) entry { return entry{i.Module, i.Name, i.Reference} }
	declared, own := map[entry]bool{}, map[entry]bool{}
	for _, i := range b.Declared {
		declared[entryOf(i)] = true
	}
	differ := func(i Image, only string) {
		if !b.isInstallerRead() {
			return
		}
		v.Notes = append(v.Notes, Reason{Kind: DifferentList, Module: i.Module, Image: i.Name, Reference: i.Reference,
			Version: fmt.Sprintf("only the list of %s declares module %s image %s as %s", only, i.Module, i.Name, i.Reference)})
	}
	for _, i := range b.Own {
		own[entryOf(i)] = true
		if declared[entryOf(i)] {
			continue
		}
		differ(i, "the platform image")
		if i.State != Complete {
			v.Reasons = append(v.Reasons, aboutImage(MissingImage, i))
		}
	}
	for _, i := range b.Declared {
		if !own[entryOf(i)] {
			differ(i, "the installer")
		}
	}
}

func judgeModule(m Module) ModuleVerdict {
	v := ModuleVerdict{Name: m.Name, Versions: m.Tags, Channels: map[string]string{}, Reasons: []Reason{}, Notes: []Reason{}}
	add := func(r Reason) { v.Reasons = append(v.Reasons, r) }
	type place struct{ name, repository, reference string }
	named := map[place]bool{} // images that already have a reason, because versions may share images
	need := func(kind Kind, i Image) {
		if at := (place{i.Name, i.Repository, i.Reference}); i.State != Complete && !named[at] {
			named[at] = true
			add(aboutImage(kind, i))
		}
	}
	if v.Versions == nil {
		v.Versions = []string{}
		add(Reason{Kind: MissingModule, Module: m.Name})
		return v
	}
	for _, text := range unmet(m) {
		add(Reason{Kind: MissingVersion, Module: m.Name, Version: text})
	}
	for _, x := range m.Versions {
		need(MissingVersion, x.Image)
		for _, u := range x.Unreadable {
			add(unreadable(u))
		}
		for _, i := range x.Declared {
			need(MissingImage, i)
		}
		if x.Entry.State != Complete {
			v.Notes = append(v.Notes, aboutImage(MissingRelease, x.Entry))
		}
	}
	if len(m.Channels) == 0 {
		add(Reason{Kind: MissingChannel, Module: m.Name})
	}
	for _, c := range m.Channels {
		v.Channels[c.Name] = c.Target
		need(MissingChannel, c.Image)
		if c.Unreadable != "" {
			add(unreadable(Unreadable{c.Image, c.Unreadable}))
		}
	}
	if m.Undiscoverable {
		add(Reason{Kind: Undiscoverable, Module: m.Name})
	}
	v.Ready = len(v.Reasons) == 0
	return v
}

// unmet returns the constraints that no available version of a module satisfies.
func unmet(m Module) (all []string) {
	for _, c := range slices.Concat(m.Want.Ranges, m.Want.Pins) {
		if !slices.ContainsFunc(m.Tags, func(tag string) bool { return fits(c, tag) }) {
			all = append(all, c.Text)
		}
	}
	return all
}

func fits(c *release.Constraint, tag string) bool {
	if len(c.Ranges) == 0 {
		return release.SameVersion(c.Tag, tag)
	}
	r, isVersion := release.Parse(tag)
	return isVersion && c.Matches(r.Version)
}

func judgeChannels(all []Channel) []ChannelVerdict {
	verdicts := []ChannelVerdict{}
	for _, c := range all {
		v := ChannelVerdict{Channel: c.Name, Version: c.Target, Here: c.Here}
		switch {
		case c.Image.State != Complete:
			v.Detail = aboutImage(MissingChannel, c.Image).String()
		case c.Unreadable != "":
			v.Detail = c.Unreadable
		case !c.Here:
			v.Detail = "points at " + c.Target + ", which is missing"
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// isAsked reports whether a version was requested. If the question names no versions, all versions count as
// requested, except those that are older than the cluster's.
func (j *judge) isAsked(tag string) bool {
	if len(j.question.Releases) > 0 {
		return slices.ContainsFunc(j.question.Releases, func(r string) bool { return release.SameVersion(r, tag) })
	}
	return !j.isOlder(tag)
}

func (j *judge) isOlder(tag string) bool {
	from, ok := release.Parse(j.question.From)
	r, also := release.Parse(tag)
	return ok && also && r.Version.LessThan(from.Version)
}

// absent returns a verdict for each requested version that is missing.
func (j *judge) absent() (all []VersionVerdict) {
	here := j.facts.Here
	for _, asked := range j.question.Releases {
		if slices.ContainsFunc(here, func(tag string) bool { return release.SameVersion(asked, tag) }) {
			continue
		}
		detail := "there is no version of the platform"
		if len(here) > 0 {
			detail = "available: " + strings.Join(here, ", ")
		}
		all = append(all, VersionVerdict{Version: asked, Asked: true, Notes: []Reason{}, Requirements: []string{},
			Reasons: append([]Reason{{Kind: AbsentVersion, Version: asked, Detail: detail}}, j.shared...)})
	}
	return all
}

// countDigests counts the different digests of images. For an image that is declared by tag, it counts the
// digest to which the tag leads.
func countDigests(images []Image) int {
	seen := map[digest.Digest]bool{}
	for _, i := range images {
		if d := cmp.Or(i.Digest, digest.Digest(i.Reference)); d.Validate() == nil {
			seen[d] = true
		}
	}
	return len(seen)
}

// sizeOf returns the total size of images in bytes. It counts shared content once.
func sizeOf(images []Image) (size int64) {
	seen := map[digest.Digest]bool{}
	for _, i := range images {
		for _, c := range i.Content {
			if !seen[c.Digest] {
				seen[c.Digest] = true
				size += c.Size
			}
		}
	}
	return size
}
