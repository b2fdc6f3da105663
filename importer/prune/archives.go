package prune

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// settleArchives decides which archives are removed. Nothing can be removed from an archive that
// is neither removed nor rewritten, so everything in such an archive is kept.
func (d *decider) settleArchives() {
	stays := map[int]bool{}
	for n := range d.facts.Volumes {
		stays[n] = true
	}
	d.gone = map[int]bool{}
	for n, v := range d.facts.Volumes {
		if v.File == "" || !d.hasGoing(n) {
			continue
		}
		stays[n] = false
		if d.canDo(n, stays) {
			d.gone[n] = true
		} else {
			stays[n] = true
		}
	}
	for n, v := range d.facts.Volumes {
		if v.File != "" && stays[n] && (v.Retired || !d.scope.Repack) {
			d.keepNamedIn(n)
		}
	}
}

// hasGoing reports whether something in an archive is to be removed. For an archive that an
// earlier prune has retired, it reports whether its grace period is over.
func (d *decider) hasGoing(n int) bool {
	v := d.facts.Volumes[n]
	if v.Retired {
		return v.Due || d.scope.EndGrace
	}
	for i := range d.facts.Repositories {
		r := &d.facts.Repositories[i]
		for _, l := range r.Layers {
			if l.Volume == n && slices.ContainsFunc(l.Entries, func(e Entry) bool { return d.isLost(r, e) }) {
				return !d.policy.IsEmpty()
			}
		}
	}
	return false
}

// isLost reports whether an index entry is no longer needed: its image is removed, or another
// image has its tag.
func (d *decider) isLost(r *Repository, e Entry) bool {
	at := ref{r.Path, e.Digest}
	if _, kept := d.kept[at]; !kept {
		return true
	}
	return e.Tag != "" && d.tags[Place{r.Path, e.Tag}].digest != e.Digest
}

// canDo reports whether the store can do without volume n: each kept tag still leads to its
// image, and each kept manifest and blob has a copy in a volume that stays.
func (d *decider) canDo(n int, stays map[int]bool) bool {
	for i := range d.facts.Repositories {
		r := &d.facts.Repositories[i]
		if !slices.ContainsFunc(r.Layers, func(l Layer) bool { return l.Volume == n }) {
			continue
		}
		if !d.hasSameTags(r, stays) {
			return false
		}
		for dg := range d.content[r.Path] {
			copies := r.Copies[dg]
			if slices.Contains(copies, n) && !slices.ContainsFunc(copies, func(c int) bool { return stays[c] }) {
				return false
			}
		}
	}
	return true
}

// hasSameTags reports whether the indexes of the volumes that stay name each kept image, and
// each kept tag leads to its image.
func (d *decider) hasSameTags(r *Repository, stays map[int]bool) bool {
	tags := map[string]digest.Digest{}
	named := map[digest.Digest]bool{}
	for _, l := range r.Layers {
		if !stays[l.Volume] {
			continue
		}
		for _, e := range l.Entries {
			_, kept := d.kept[ref{r.Path, e.Digest}]
			if d.facts.Volumes[l.Volume].File == "" && d.isLost(r, e) {
				if kept {
					named[e.Digest] = true // it loses its tag only
				}
				continue
			}
			named[e.Digest] = true
			if e.Tag != "" {
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

// keepNamedIn keeps what the indexes of an archive name. It also keeps the images that won tags
// from them: without the winner, such a tag would lead to the archive's image again.
func (d *decider) keepNamedIn(n int) {
	why := Reason{InArchive, d.facts.Volumes[n].File}
	for i := range d.facts.Repositories {
		r := &d.facts.Repositories[i]
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

// findRewritten finds the archives that are kept and contain something to remove.
func (d *decider) findRewritten() (all []int) {
	for n, v := range d.facts.Volumes {
		if v.File == "" || v.Retired || d.gone[n] || !d.hasGoing(n) {
			continue
		}
		all = append(all, n)
	}
	return all
}
