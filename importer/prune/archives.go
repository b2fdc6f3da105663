package prune

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// chooseArchives decides which archives are removed. If an archive is neither removed nor rewritten, all of
// its images are kept.
func (d *decider) chooseArchives() {
	d.dropped = map[int]bool{}
	for n, v := range d.facts.Volumes {
		if v.File == "" || !d.hasUnneeded(n) {
			continue
		}
		d.dropped[n] = true
		if !d.isRedundant(n) {
			delete(d.dropped, n)
		}
	}
	for n, v := range d.facts.Volumes {
		if v.File != "" && !d.dropped[n] && (v.Retired || !d.scope.Repack) {
			d.keepArchive(n)
		}
	}
}

// hasUnneeded reports whether an archive has an image or tag to remove. If an earlier prune has
// retired the archive, it reports instead whether the grace period is over.
func (d *decider) hasUnneeded(n int) bool {
	v := d.facts.Volumes[n]
	if v.Retired {
		return v.Due || d.scope.EndGrace
	}
	for _, r := range d.facts.Repositories {
		for _, l := range r.Layers {
			if l.Volume == n && slices.ContainsFunc(l.Entries, func(e Entry) bool { return d.isUnneeded(r, e) }) {
				return !d.policy.IsEmpty()
			}
		}
	}
	return false
}

// isUnneeded reports whether an index entry is not needed anymore. Either its image is removed, or its tag
// now leads to another image. In a repository from which nothing may be removed, every entry is needed.
func (d *decider) isUnneeded(r *Repository, e Entry) bool {
	if r.Unclear != "" {
		return false
	}
	at := ref{r.Path, e.Digest}
	if _, kept := d.kept[at]; !kept {
		return true
	}
	return e.Tag != "" && d.tags[Place{r.Path, e.Tag}].digest != e.Digest
}

// isRedundant reports whether the store can do without volume n: each kept tag still leads to its
// image, and each kept manifest and blob has a copy in another volume. n must already be in
// d.dropped.
func (d *decider) isRedundant(n int) bool {
	for _, r := range d.facts.Repositories {
		if !r.isIn(n) {
			continue
		}
		if r.Unclear != "" && !d.facts.Volumes[n].Retired || !d.nameAllKept(r) {
			return false
		}
		for dg := range d.content[r.Path] {
			copies := r.Copies[dg]
			if slices.Contains(copies, n) && !slices.ContainsFunc(copies, func(c int) bool { return !d.dropped[c] }) {
				return false
			}
		}
	}
	return true
}

// nameAllKept reports whether the remaining volumes still list each kept image of a repository, and
// whether each kept tag leads to its image there.
func (d *decider) nameAllKept(r *Repository) bool {
	tags := map[string]digest.Digest{}
	named := map[digest.Digest]bool{}
	for _, l := range r.Layers {
		if d.dropped[l.Volume] {
			continue
		}
		for _, e := range l.Entries {
			loses := d.facts.Volumes[l.Volume].File == "" && d.isUnneeded(r, e)
			if _, kept := d.kept[ref{r.Path, e.Digest}]; kept || !loses { // a kept image may lose its tag, but stays listed
				named[e.Digest] = true
			}
			if !loses && e.Tag != "" {
				tags[e.Tag] = e.Digest
			}
		}
	}
	for _, i := range r.Images {
		if _, kept := d.kept[ref{r.Path, i.Digest}]; !kept {
			continue
		}
		if !named[i.Digest] {
			return false
		}
		for _, tag := range i.Tags {
			if tags[tag] != i.Digest {
				return false
			}
		}
	}
	return true
}

// keepArchive keeps all images in an archive. It also keeps each image that has taken a tag from one of them.
// Otherwise, the tag would lead to the archive's image again.
func (d *decider) keepArchive(n int) {
	why := Reason{InArchive, d.facts.Volumes[n].File}
	for _, r := range d.facts.Repositories {
		for _, l := range r.Layers {
			if l.Volume != n {
				continue
			}
			for _, e := range l.Entries {
				d.keep(ref{r.Path, e.Digest}, why)
				if winner, ok := d.tags[Place{r.Path, e.Tag}]; ok && e.Tag != "" {
					d.keep(winner, why)
				}
			}
		}
	}
}
