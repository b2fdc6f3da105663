package prune

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

// classify decides whether an image may be removed, and why. A later step may still keep a removable image.
func (d *decider) classify(r *Repository, i *Image) (why Reason, removable bool) {
	m := r.Manifests[i.Digest]
	switch {
	case r.Unclear != "":
		return Reason{Unclear, r.Unclear}, false
	case len(i.Tags) == 0 && !i.Pruned.IsZero():
		if d.scope.EndGrace || !d.scope.Now.Before(i.Pruned) {
			return Reason{Rule: PrunedBefore}, true
		}
		return Reason{Grace, i.Pruned.UTC().Format("2006-01-02 15:04 MST")}, false
	case d.policy.IsEmpty():
		return Reason{Rule: NoRule}, false
	case len(i.Tags) > 0:
		for _, tag := range i.Tags {
			if why, removable = d.classifyTag(r, i, tag); !removable {
				return why, false
			}
		}
		if m.Subject != "" { // an image with a subject is kept if the subject is kept, regardless of the image's tags
			d.followSubjects(r, i, m.Subject.String(), []ref{{r.Path, m.Subject}})
		}
		return why, true
	case m.Subject != "":
		return d.followSubjects(r, i, m.Subject.String(), []ref{{r.Path, m.Subject}})
	case len(d.declared[ref{r.Path, i.Digest}]) > 0:
		return Reason{Rule: DeclaredByGone}, true
	case i.Replaced != "":
		return Reason{Replaced, i.Replaced}, true
	}
	return Reason{Rule: ByDigest}, false
}

func (d *decider) classifyTag(r *Repository, i *Image, tag string) (why Reason, removable bool) {
	at := ref{r.Path, i.Digest}
	_, isVersion := release.Parse(tag)
	isOwn := len(d.own[Place{r.Path, tag}]) > 0
	switch {
	case !isOwn && len(d.declared[at]) > 0 && slices.ContainsFunc(d.declared[at], func(n int) bool { return d.declaresTag(n, r.Path, tag, i.Digest) }):
		return Reason{Rule: DeclaredByGone}, true
	case digest.Digest("sha256:"+tag) == i.Digest, !isOwn && isExtra(r.Path):
		return Reason{Rule: NotDeclared}, false
	}
	if subjects, by, ok := d.subjectsOf(r, tag); ok {
		return d.followSubjects(r, i, by, subjects)
	}
	if isVersion {
		return d.classifyVersion(r, at, tag)
	}
	if subject := r.Manifests[i.Digest].Subject; subject != "" && !slices.Contains(release.Channels(), tag) {
		return d.followSubjects(r, i, d.label(ref{r.Path, subject}), []ref{{r.Path, subject}})
	}
	if _, isChannel := d.channels[Place{r.Path, tag}]; isChannel {
		return Reason{Rule: ReleaseChannel}, false
	}
	return Reason{NotAVersion, tag}, false
}

// declaresTag reports whether a release declares an image by this tag. If the tag consists of the
// hex digits of the image's digest, the release may also declare the image by its digest.
func (d *decider) declaresTag(n int, repository, tag string, dg digest.Digest) bool {
	return slices.ContainsFunc(d.facts.Releases[n].Declared, func(at Place) bool {
		return at.Repository == repository && (at.Reference == tag || at.Reference == dg.String() && tag == dg.Encoded())
	})
}

// isExtra reports whether a repository contains extra images of a module or package. Such images are kept
// while a version declares them.
func isExtra(repository string) bool {
	s := strings.Split(repository, "/")
	return len(s) > 3 && (s[0] == "modules" || s[0] == "packages") && s[2] == "extra"
}

// classifyVersion decides whether a version may be removed. It may be removed only if a rule of the
// policy applies to its repository.
func (d *decider) classifyVersion(r *Repository, at ref, tag string) (Reason, bool) {
	switch {
	case d.isPlatform(r.Path) && d.policy.Deployed == "" && len(d.policy.KeepReleases) == 0:
		return Reason{Rule: UnknownDeployed}, false
	case !d.hasRule(r):
		return Reason{Rule: NoRule}, false
	}
	d.versions[at] = tag
	return Reason{Rule: Superseded}, true
}

// followSubjects records the subjects of an image. The image is kept if at least one of them is kept, or if
// the store has none of them. Otherwise, it is removed.
func (d *decider) followSubjects(r *Repository, i *Image, by string, subjects []ref) (Reason, bool) {
	known := false
	for _, s := range subjects {
		if _, ok := d.repositories[s.repository].Manifests[s.digest]; ok {
			d.followers[s] = append(d.followers[s], ref{r.Path, i.Digest})
			known = true
		}
	}
	if !known {
		return Reason{UnknownSubject, by}, false
	}
	return Reason{RefersToGone, by}, true
}

// subjectsOf finds the subjects of a signature or attestation by its tag, which is sha256-HEX
// (referrers tag schema of distribution-spec 1.1), sha256-HEX.sig or the like (cosign), or TAG.att
// (Deckhouse). Signatures of a module's extra images are in the module's own repository.
func (d *decider) subjectsOf(r *Repository, tag string) (subjects []ref, by string, ok bool) {
	suffix := path.Ext(tag)
	base := strings.TrimSuffix(tag, suffix)
	subject := digest.Digest("sha256:" + strings.TrimPrefix(base, "sha256-"))
	if strings.HasPrefix(base, "sha256-") && subject.Validate() == nil {
		for _, at := range d.family(r.Path) {
			if _, known := d.repositories[at].Manifests[subject]; known {
				subjects = append(subjects, ref{at, subject})
			}
		}
		return subjects, short(subject), true
	}
	if !slices.Contains([]string{".att", ".sig", ".sbom"}, suffix) {
		return nil, "", false
	}
	for _, at := range d.family(r.Path) {
		if to, known := d.tags[Place{at, base}]; known {
			subjects = append(subjects, to)
		}
	}
	return subjects, name(r.Path, base), true
}

// family returns the paths of a repository and of its extra images' repositories.
func (d *decider) family(at string) []string {
	all := []string{at}
	for _, r := range d.facts.Repositories {
		if strings.HasPrefix(r.Path, path.Join(at, "extra")+"/") {
			all = append(all, r.Path)
		}
	}
	return all
}

// isPlatform reports whether a repository has versions of the platform as tags.
func (d *decider) isPlatform(repository string) bool {
	return d.facts.Platform && slices.Contains([]string{".", "install", "install-standalone", "release-channel"}, repository)
}

// hasRule reports whether a rule of the policy applies to the versions of a repository.
func (d *decider) hasRule(r *Repository) bool {
	p := d.policy
	return p.KeepNewest > 0 || p.OlderThan > 0 ||
		d.isPlatform(r.Path) && (p.Deployed != "" || len(p.KeepReleases) > 0) ||
		slices.ContainsFunc(p.Bundles, func(b Bundle) bool { return len(b.Images[r.Path]) > 0 }) ||
		slices.ContainsFunc(r.Images, func(i Image) bool {
			return slices.ContainsFunc(i.Tags, func(tag string) bool { return d.globOf(r.Path, tag) != "" })
		})
}

// globOf returns the first glob of the policy that matches a tag, or "" if none matches.
func (d *decider) globOf(repository, tag string) string {
	for _, glob := range d.policy.Keep {
		if matchesGlob(glob, repository, tag) {
			return glob
		}
	}
	return ""
}

// ruleFor returns the rule of the policy that keeps an image, and false if no rule keeps it.
func (d *decider) ruleFor(r *Repository, i *Image) (Reason, bool) {
	for _, tag := range i.Tags {
		if d.isPlatform(r.Path) {
			if why, kept := d.releaseRule(tag); kept {
				return why, true
			}
		}
		if d.policy.KeepNewest > 0 && d.isNewest(r, tag) {
			return Reason{KeptNewest, fmt.Sprint(d.policy.KeepNewest)}, true
		}
		if glob := d.globOf(r.Path, tag); glob != "" {
			return Reason{KeptGlob, glob}, true
		}
	}
	for _, b := range d.policy.Bundles {
		if b.Images[r.Path][i.Digest] {
			return Reason{KeptBundle, b.Name}, true
		}
	}
	why := d.removable[ref{r.Path, i.Digest}]
	if d.policy.OlderThan > 0 && (why.Rule == Superseded || why.Rule == Replaced) && d.scope.Now.Sub(i.Since) < d.policy.OlderThan {
		return Reason{KeptYoung, i.Since.UTC().Format("2006-01-02 15:04 MST")}, true
	}
	return Reason{}, false
}

// releaseRule is like ruleFor, but only for rules about releases of the platform.
func (d *decider) releaseRule(tag string) (Reason, bool) {
	for _, v := range d.policy.KeepReleases {
		if release.SameVersion(v, tag) {
			return Reason{KeptRelease, v}, true
		}
	}
	deployed, hasDeployed := release.Parse(d.policy.Deployed)
	v, isVersion := release.Parse(tag)
	switch {
	case !hasDeployed || !isVersion:
	case v.Version.Equal(deployed.Version):
		return Reason{KeptDeployed, d.policy.Deployed}, true
	case v.Version.GreaterThan(deployed.Version):
		return Reason{KeptNewer, d.policy.Deployed}, true
	case d.previous[v.Version.String()]:
		return Reason{KeptPrevious, fmt.Sprint(d.policy.KeepPrevious)}, true
	}
	return Reason{}, false
}

// checkReleases returns an error if the policy names a version of the platform that the store does not have.
// Without this check, the prune could remove the version that was meant, because of a typing error in the
// policy.
func (d *decider) checkReleases() error {
	for _, v := range append(slices.Clone(d.policy.KeepReleases), d.policy.Deployed) {
		isKnown := slices.ContainsFunc(d.releases["."], func(n int) bool { return release.SameVersion(d.facts.Releases[n].Tag, v) })
		if v != "" && !isKnown {
			return fmt.Errorf("%s: %w", v, ErrNoRelease)
		}
	}
	return nil
}

// findPrevious returns the versions that KeepPrevious keeps: that many releases before the deployed version, and
// the previews that are newer than the oldest of these releases.
func (d *decider) findPrevious() map[string]bool {
	kept := map[string]bool{}
	deployed, ok := release.Parse(d.policy.Deployed)
	if !ok {
		return kept
	}
	var tags []string
	for _, n := range d.releases["."] {
		tags = append(tags, d.facts.Releases[n].Tag)
	}
	count := 0
	for _, v := range slices.Backward(release.ParseAll(tags)) {
		if !v.Version.LessThan(deployed.Version) || count >= d.policy.KeepPrevious {
			continue
		}
		kept[v.Version.String()] = true
		if v.Version.Prerelease() == "" {
			count++
		}
	}
	return kept
}

// isNewest reports whether KeepNewest keeps a tag: fewer than KeepNewest versions in its repository
// are newer. Previews are not counted, and a version with two spellings is counted once.
func (d *decider) isNewest(r *Repository, tag string) bool {
	v, ok := release.Parse(tag)
	if !ok {
		return false
	}
	newer, last := 0, v.Version
	for _, other := range d.ordered[r.Path] {
		if other.Version.GreaterThan(last) && other.Version.Prerelease() == "" {
			newer, last = newer+1, other.Version
		}
	}
	return newer < d.policy.KeepNewest
}

type version struct {
	release.Release
	at ref
}

// versionsOf returns the versions among the tags of a repository, in ascending order. If a version is spelled
// in two ways, such as 1.0.0 and v1.0.0, it is listed twice.
func versionsOf(r *Repository) (all []version) {
	for _, i := range r.Images {
		for _, tag := range i.Tags {
			if v, ok := release.Parse(tag); ok {
				all = append(all, version{v, ref{r.Path, i.Digest}})
			}
		}
	}
	slices.SortFunc(all, func(a, b version) int {
		return cmp.Or(a.Version.Compare(b.Version), cmp.Compare(a.Tag, b.Tag))
	})
	return all
}

// supersedes reports whether a version is newer than another one and replaces it. A preview replaces only
// previews.
func supersedes(newer, older *semver.Version) bool {
	return newer.GreaterThan(older) && (newer.Prerelease() == "" || older.Prerelease() != "")
}

// superseder returns a kept tag that supersedes a version, or "" if there is none.
func (d *decider) superseder(r *Repository, tag string) string {
	v, ok := release.Parse(tag)
	if !ok {
		return ""
	}
	for _, other := range d.ordered[r.Path] {
		if _, kept := d.kept[other.at]; kept && supersedes(other.Version, v.Version) {
			return other.Tag
		}
	}
	return ""
}

// keepUnsuperseded keeps each version that no kept version supersedes.
func (d *decider) keepUnsuperseded() {
	for _, r := range d.facts.Repositories {
		for _, v := range slices.Backward(d.ordered[r.Path]) {
			if _, kept := d.kept[v.at]; !kept && d.versions[v.at] != "" && d.superseder(r, v.Tag) == "" {
				d.keep(v.at, Reason{NotSuperseded, v.Tag})
			}
		}
	}
}
