package pull

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Part is what a gap is part of: whether an incomplete bundle can be published without it,
// and why.
type Part struct {
	Optional bool
	Reason   string
}

// contradiction is the part of manifests that contradict each other.
func contradiction() Part { return Part{false, "one of them is wrong, and which is not known"} }

// repositoryPart is an image of a repository that is pulled as it is.
func repositoryPart() Part { return Part{true, "the other images do not need it"} }

// publishedPart is content that was to be published, and about which no more is known.
func publishedPart() Part { return Part{false, "it was to be published"} }

// Unit is what is pulled completely or not at all: a version of a component.
type Unit struct{ Component, Version string }

// allowance is what a pull that may be incomplete has found out: it is planned again
// without what is not complete. A nil allowance allows nothing.
type allowance struct {
	lost  map[digest.Digest]string // blobs that are missing or damaged in the source, and why
	skip  map[Unit]string          // units that are not complete, and why
	holes []Gap
}

func newAllowance(o *Options) *allowance {
	if !o.AllowIncomplete {
		return nil
	}
	return &allowance{lost: map[digest.Digest]string{}, skip: map[Unit]string{}}
}

// learn notes the blobs that an error is about, and reports whether to retry the pull
// without them.
func (a *allowance) learn(err error) bool {
	var gaps *IncompleteError
	if a == nil || !errors.As(err, &gaps) {
		return false
	}
	before := len(a.lost)
	for _, g := range gaps.Gaps {
		if !g.lost {
			return false
		}
		a.lost[g.Digest] = g.Reason
	}
	return len(a.lost) > before
}

// Need says that a unit needs what a layout has under a tag.
func (d *Draft) Need(l *Layout, tag string, u Unit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.neededBy[tag] = append(l.neededBy[tag], u)
}

// Skips reports whether a unit is skipped because it is incomplete.
func (d *Draft) Skips(u Unit) bool {
	if d.allow == nil {
		return false
	}
	_, ok := d.allow.skip[u]
	return ok
}

// NotSkipped returns the versions of a component that are not skipped.
func (d *Draft) NotSkipped(component string, versions []string) []string {
	return slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return d.Skips(Unit{component, v}) })
}

// Absorb turns an error about content into gaps of a part of a unit; the unit may have no
// version. It returns any other error.
func (d *Draft) Absorb(err error, part Part, u Unit) error {
	var gaps *IncompleteError
	if !errors.As(err, &gaps) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range gaps.Gaps {
		if g.Part == (Part{}) {
			g.Part, g.Component = part, cmp.Or(g.Component, u.Component)
		}
		d.gaps = append(d.gaps, g)
	}
	if u.Version != "" {
		d.incomplete[u] = gaps.Gaps[0].Reason
	}
	return nil
}

// settle decides about the gaps of a draft: nil if it can be pulled, with the allowed gaps as
// its holes. Errors: *IncompleteError; errIncompleteUnits if the plan must be made again
// without them.
func (d *Draft) settle() error {
	if d.allow == nil {
		return Incomplete(d.gaps)
	}
	refused := false
	for i, g := range d.gaps {
		if !g.Part.Optional {
			refused = true
			d.gaps[i].Reason += ": a pull cannot do without it: " + cmp.Or(g.Part.Reason, publishedPart().Reason)
		}
	}
	d.allow.holes = distinct(append(d.allow.holes, d.gaps...))
	if refused {
		return Incomplete(d.allow.holes)
	}
	before := len(d.allow.skip)
	for u, why := range d.incomplete {
		d.allow.skip[u] = why
	}
	if len(d.allow.skip) > before {
		return errIncompleteUnits
	}
	return nil
}

// toPublish are gaps of a pull of which nothing is left.
func toPublish(holes []Gap) []Gap {
	holes = slices.Clone(holes)
	for i := range holes {
		holes[i].Part = publishedPart()
	}
	return holes
}

// distinct sorts gaps, each thing once, whatever the reasons are that it is named for.
func distinct(gaps []Gap) []Gap {
	all := ordered(gaps)
	slices.SortStableFunc(all, func(a, b Gap) int { return strings.Compare(a.Component, b.Component) })
	return slices.CompactFunc(all, func(a, b Gap) bool {
		return a.Component == b.Component && a.Repository == b.Repository && a.Tag() == b.Tag() && a.Digest == b.Digest
	})
}

// drop removes broken images, given by their digests and reasons, from a layout, and resets
// the others to what was planned.
func (d *Draft) drop(l *Layout, base map[string]bundle.Image, broken map[digest.Digest]string) {
	for _, key := range sortedKeys(l.images) {
		i := l.images[key]
		if why, ok := broken[i.Digest]; ok {
			d.GapOf(l, imageGap(layoutstore.Incomplete, l.Repository, i, why), i.Tag)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for image := range broken {
		l.without[image] = true
	}
	l.images, l.digests, l.referrers = map[string]bundle.Image{}, map[digest.Digest]bool{}, 0
	l.planned.Images, l.planned.Blobs = nil, nil
	for key, i := range base {
		if !l.without[i.Digest] {
			l.images[key] = i
			l.digests[i.Digest] = true
		}
	}
}

// because names what is wrong in an image, unless that is the image itself.
func because(image, wrong digest.Digest, reason string) string {
	if image == wrong {
		return reason
	}
	return fmt.Sprintf("%s in it: %s", wrong, reason)
}
