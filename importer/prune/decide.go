package prune

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

// Scope has the parameters of a decision other than the facts and the policy.
type Scope struct {
	Now    time.Time
	Repack bool // whether to rewrite kept archives without their removed images

	EndGrace bool // whether to end the grace periods of earlier prunes now
}

// Decision says whether an image is kept, and why.
type Decision struct {
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
	Tags       []string      `json:"tags,omitempty"`
	Keep       bool          `json:"keep"`
	Reason     Reason        `json:"reason"`
}

// Outcome is the result of all decisions about a store.
type Outcome struct {
	Decisions []Decision // sorted by repository and digest

	// Content lists the manifests and blobs that are kept, by repository.
	Content map[string]map[digest.Digest]bool
	// Dropped lists the archives to remove. Rewritten lists the archives to rewrite. Each number is a
	// position in Facts.Volumes.
	Dropped, Rewritten []int
}

// Decide decides which images are removed. It is a pure function. With an empty policy, it removes only
// images that earlier prunes have untagged. Errors are those of [Policy.Check], and ErrNoRelease.
func Decide(f Facts, p Policy, s Scope) (Outcome, error) {
	if !p.IsEmpty() {
		if err := p.Check(); err != nil {
			return Outcome{}, err
		}
	}
	d := newDecider(f, p, s)
	if err := d.checkReleases(); err != nil {
		return Outcome{}, err
	}
	d.classifyAll()
	for d.changed = true; d.changed; {
		d.changed = false
		d.keepUnsuperseded()
		d.chooseArchives()
	}
	return d.outcome(), nil
}

type ref struct {
	repository string
	digest     digest.Digest
}

// decider collects the images to keep. A step may add images, but never takes an image away. So,
// whatever the order of the steps, no image is removed that has to be kept.
type decider struct {
	facts  Facts
	policy Policy
	scope  Scope

	repositories map[string]*Repository
	tags         map[Place]ref
	own          map[Place][]int
	declared     map[ref][]int // releases that declare an image, as positions in Facts.Releases
	releases     map[string][]int
	channels     map[Place]int
	previous     map[string]bool // platform versions that KeepPrevious keeps

	removable map[ref]Reason // images that are removed unless a later step keeps them, with the reason

	versions map[ref]string // tags of the versions in removable

	ordered   map[string][]version // versions in ascending order, by repository
	walked    map[ref]bool
	followers map[ref][]ref // images that are kept if their subject, the key, is kept
	kept      map[ref]Reason
	released  map[int]bool // releases whose images are kept, as positions in Facts.Releases
	content   map[string]map[digest.Digest]bool
	dropped   map[int]bool // archives to remove, as positions in Facts.Volumes
	changed   bool
}

func newDecider(f Facts, p Policy, s Scope) *decider {
	d := &decider{facts: f, policy: p, scope: s, repositories: map[string]*Repository{}, tags: map[Place]ref{}, own: map[Place][]int{},
		declared: map[ref][]int{}, releases: map[string][]int{}, channels: map[Place]int{}, removable: map[ref]Reason{}, versions: map[ref]string{}, ordered: map[string][]version{}, walked: map[ref]bool{},
		followers: map[ref][]ref{}, kept: map[ref]Reason{}, released: map[int]bool{}, content: map[string]map[digest.Digest]bool{}}
	for _, r := range f.Repositories {
		d.repositories[r.Path] = r
		d.content[r.Path], d.ordered[r.Path] = map[digest.Digest]bool{}, versionsOf(r)
		for _, image := range r.Images {
			for _, tag := range image.Tags {
				d.tags[Place{r.Path, tag}] = ref{r.Path, image.Digest}
			}
		}
	}
	for i, x := range f.Releases {
		d.releases[x.Of] = append(d.releases[x.Of], i)
		for _, at := range x.Own {
			d.own[at] = append(d.own[at], i)
		}
		for _, at := range x.Declared {
			if to, ok := d.find(at); ok {
				d.declared[to] = append(d.declared[to], i)
			}
		}
	}
	for i, c := range f.Channels {
		d.channels[c.Place] = i
	}
	d.previous = d.findPrevious()
	return d
}

// find returns the manifest to which a place refers by tag or digest. It returns false if the store
// does not have it.
func (d *decider) find(at Place) (ref, bool) {
	if dg := digest.Digest(at.Reference); dg.Validate() == nil {
		r := d.repositories[at.Repository]
		if r == nil {
			return ref{}, false
		}
		_, known := r.Manifests[dg]
		return ref{at.Repository, dg}, known
	}
	to, ok := d.tags[at]
	return to, ok
}

// classifyAll finds the images that may be removed. It keeps all other images.
func (d *decider) classifyAll() {
	type fixed struct {
		ref
		why Reason
	}
	var stay []fixed
	for _, r := range d.facts.Repositories {
		for j := range r.Images {
			image := &r.Images[j]
			at := ref{r.Path, image.Digest}
			why, removable := d.classify(r, image)
			kept := !removable
			if removable {
				d.removable[at] = why
				why, kept = d.ruleFor(r, image)
			}
			if kept {
				stay = append(stay, fixed{at, why})
			}
		}
	}
	for _, x := range stay { // keep images only now, because d.followers must be complete
		d.keep(x.ref, x.why)
	}
}

// keep marks a manifest and its graph as kept, and also the releases of its tags.
func (d *decider) keep(at ref, why Reason) {
	r := d.repositories[at.repository]
	image := r.image(at.digest)
	if image != nil {
		if _, known := d.kept[at]; known {
			return
		}
		d.kept[at] = why
	}
	d.changed = true
	d.keepContent(r, at.digest)
	if image != nil {
		for _, tag := range image.Tags {
			d.keepWithTag(Place{r.Path, tag})
		}
	}
}

// keepContent keeps the graph of a manifest, and the subjects and referrers of all manifests in it.
func (d *decider) keepContent(r *Repository, top digest.Digest) {
	by := d.label(ref{r.Path, top})
	content := d.content[r.Path]
	for todo := []digest.Digest{top}; len(todo) > 0; todo = todo[1:] {
		at := todo[0]
		content[at] = true
		if d.walked[ref{r.Path, at}] {
			continue
		}
		d.walked[ref{r.Path, at}] = true
		m, isManifest := r.Manifests[at]
		if !isManifest {
			continue
		}
		if m.Gap != "" {
			for _, image := range r.Images {
				d.keep(ref{r.Path, image.Digest}, Reason{Unclear, short(at) + " cannot be read, so it is unknown which images it needs"})
			}
		}
		for _, b := range m.Blobs {
			content[b] = true
		}
		for _, c := range m.Children {
			todo = append(todo, c)
			if r.image(c) != nil {
				d.keep(ref{r.Path, c}, Reason{PartOf, by})
			}
		}
		if _, known := r.Manifests[m.Subject]; known {
			todo = append(todo, m.Subject)
			if r.image(m.Subject) != nil {
				d.keep(ref{r.Path, m.Subject}, Reason{SubjectOf, by})
			}
		}
		for _, f := range d.followers[ref{r.Path, at}] {
			d.keep(f, Reason{RefersTo, d.label(ref{r.Path, at})})
		}
	}
}

// keepWithTag keeps the release to which a kept tag belongs. If the tag is a release channel, it keeps the
// release to which the channel points.
func (d *decider) keepWithTag(at Place) {
	for _, i := range d.own[at] {
		d.keepRelease(i, Reason{SameRelease, d.facts.Releases[i].label()})
	}
	i, isChannel := d.channels[at]
	if !isChannel {
		return
	}
	c := d.facts.Channels[i]
	for _, n := range d.releases[c.Of] {
		switch {
		case c.Unreadable != "":
			d.keepRelease(n, Reason{UnreadableChan, c.label()})
		case release.SameVersion(d.facts.Releases[n].Tag, c.Target):
			d.keepRelease(n, Reason{ChannelTarget, c.label()})
		}
	}
}

// keepRelease keeps the images of a release, and the images that the release declares.
func (d *decider) keepRelease(n int, why Reason) {
	if d.released[n] {
		return
	}
	d.released[n] = true
	x := d.facts.Releases[n]
	for _, at := range x.Own {
		if to, ok := d.find(at); ok {
			d.keep(to, why)
		}
	}
	for _, at := range x.Declared {
		if to, ok := d.find(at); ok {
			d.keep(to, Reason{DeclaredBy, x.label()})
		}
	}
	if x.Unreadable == "" {
		return
	}
	for _, r := range d.facts.Repositories {
		for _, image := range r.Images {
			at := ref{r.Path, image.Digest}
			if d.removable[at].Rule == DeclaredByGone && x.mayDeclareIn(r.Path) {
				d.keep(at, Reason{UnreadableList, x.label()})
			}
		}
	}
}

func (d *decider) outcome() Outcome {
	o := Outcome{Content: d.content}
	for _, r := range d.facts.Repositories {
		for _, image := range r.Images {
			at := ref{r.Path, image.Digest}
			x := Decision{Repository: r.Path, Digest: image.Digest, Tags: image.Tags}
			if x.Reason, x.Keep = d.kept[at]; !x.Keep {
				x.Reason = d.whyRemoved(r, at)
			}
			o.Decisions = append(o.Decisions, x)
		}
	}
	o.Dropped = slices.Sorted(maps.Keys(d.dropped))
	for n, v := range d.facts.Volumes {
		if d.scope.Repack && v.File != "" && !v.Retired && !d.dropped[n] && d.hasUnneeded(n) {
			o.Rewritten = append(o.Rewritten, n)
		}
	}
	return o
}

// whyRemoved returns the reason why an image is removed. The reason names the version that supersedes the
// image, or the release that declared it.
func (d *decider) whyRemoved(r *Repository, at ref) Reason {
	why := d.removable[at]
	switch why.Rule {
	case Superseded:
		why.By = d.superseder(r, d.versions[at])
	case DeclaredByGone:
		why.By = d.facts.Releases[d.declared[at][0]].label()
	}
	return why
}

// label returns a manifest's name for use in a reason. The name contains a tag or, if there is
// none, the digest.
func (d *decider) label(at ref) string {
	if image := d.repositories[at.repository].image(at.digest); image != nil && len(image.Tags) > 0 {
		return name(at.repository, image.Tags[0])
	}
	return at.repository + "@" + short(at.digest)
}

func name(repository, tag string) string { return repository + ":" + tag }

func short(d digest.Digest) string { return string(d[:min(len(d), 19)]) }

// mayDeclareIn reports whether the release may declare images of a repository.
func (x Release) mayDeclareIn(repository string) bool {
	return repository == x.Of || strings.HasPrefix(repository, path.Join(x.Of, "extra")+"/")
}

func (x Release) label() string { return cmp.Or(map[string]string{".": x.Tag}[x.Of], x.Of+":"+x.Tag) }
func (c Channel) label() string { return name(c.Repository, c.Reference) }

// compareDecision compares a decision with an image by repository and digest, for a search in
// [Outcome].Decisions.
func compareDecision(x Decision, at ref) int {
	return cmp.Or(cmp.Compare(x.Repository, at.repository), cmp.Compare(x.Digest, at.digest))
}
