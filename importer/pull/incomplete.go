package pull

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Part says whether the part of a bundle that a problem affects is optional, and why. An incomplete
// bundle can be published without optional parts.
type Part struct {
	Optional bool
	Reason   string
}

// requiredPart returns the part for content about which the plan says nothing else.
func requiredPart() Part { return Part{false, "the plan requires it"} }

// Unit is one version of a component. It is pulled completely or not at all.
type Unit struct{ Component, Version string }

// allowance records which missing content an incomplete pull may leave out. A nil allowance means
// that the pull must be complete.
type allowance struct {
	// skip are the incomplete units.
	skip     map[Unit]bool
	problems []Problem
}

func newAllowance(o *Options) *allowance {
	if !o.AllowIncomplete {
		return nil
	}
	return &allowance{skip: map[Unit]bool{}}
}

// noteLost records the lost blobs that an error lists. It reports whether the pull must be repeated
// without them: if it may be incomplete, or if only optional layouts need them. It must not be called while
// another goroutine uses the source.
func (s *Source) noteLost(err error, allow *allowance) bool {
	var incomplete *IncompleteError
	if !errors.As(err, &incomplete) || slices.ContainsFunc(incomplete.Problems, func(g Problem) bool { return !g.lost || allow == nil && !g.spare }) {
		return false
	}
	before := len(s.lost)
	for _, g := range incomplete.Problems {
		s.lost[g.Digest] = g.Reason
	}
	return len(s.lost) > before
}

// Need records that a unit needs the image with a tag in a layout.
func (d *Draft) Need(l *Layout, tag string, u Unit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.neededBy[tag] = append(l.neededBy[tag], u)
}

// Skips reports whether a unit is skipped because it is incomplete.
func (d *Draft) Skips(u Unit) bool {
	return d.allow != nil && d.allow.skip[u]
}

// NotSkipped returns the versions of a component that are not skipped.
func (d *Draft) NotSkipped(component string, versions []string) []string {
	return slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return d.Skips(Unit{component, v}) })
}

// Absorb records the problems of an *IncompleteError, and returns nil. Problems without a Part get part. If u
// has a version, u becomes incomplete. Absorb returns any other error unchanged.
func (d *Draft) Absorb(err error, part Part, u Unit) error {
	var incomplete *IncompleteError
	if !errors.As(err, &incomplete) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range incomplete.Problems {
		if g.Part == (Part{}) {
			g.Part, g.Component = part, cmp.Or(g.Component, u.Component)
		}
		d.problems = append(d.problems, g)
	}
	if u.Version != "" {
		d.incomplete[u] = true
	}
	return nil
}

// judgeProblems decides whether a draft can be pulled despite its problems. If not, it fails with
// *IncompleteError. If more units turn out to be incomplete, it fails with errIncompleteUnits, and
// the draft must be planned again without them.
func (d *Draft) judgeProblems() error {
	if d.allow == nil {
		return Incomplete(d.problems)
	}
	refused := false
	for i, g := range d.problems {
		if !g.Part.Optional {
			refused = true
			d.problems[i].Reason += "; the pull fails without this content: " + cmp.Or(g.Part.Reason, requiredPart().Reason)
		}
	}
	d.allow.problems = uniqueProblems(append(d.allow.problems, d.problems...))
	if refused {
		return Incomplete(d.allow.problems)
	}
	before := len(d.allow.skip)
	maps.Copy(d.allow.skip, d.incomplete)
	if len(d.allow.skip) > before {
		return errIncompleteUnits
	}
	return nil
}

// markRequired returns the problems with all content marked as required, because nothing could be
// published without it.
func markRequired(problems []Problem) []Problem {
	problems = slices.Clone(problems)
	for i := range problems {
		problems[i].Part = requiredPart()
	}
	return problems
}

// uniqueProblems sorts problems. For each tag or digest of a component, it keeps only the first
// problem.
func uniqueProblems(problems []Problem) []Problem {
	all := sortProblems(problems)
	slices.SortStableFunc(all, func(a, b Problem) int { return strings.Compare(a.Component, b.Component) })
	return slices.CompactFunc(all, func(a, b Problem) bool {
		return a.Component == b.Component && a.Repository == b.Repository && a.Tag() == b.Tag() && a.Digest == b.Digest
	})
}

// dropImages records problems for the broken images of a layout, and resets the layout to the images of
// base that are not broken. broken maps digests to the reasons.
func (d *Draft) dropImages(l *Layout, base map[string]bundle.Image, broken map[digest.Digest]string) {
	for _, key := range sortedKeys(l.images) {
		i := l.images[key]
		if why, ok := broken[i.Digest]; ok {
			d.AddLayoutProblem(l, newImageProblem(layoutstore.Incomplete, l.Repository, i, why), i.Tag)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for image := range broken {
		l.skipped[image] = true
	}
	l.images, l.digests, l.referrers = map[string]bundle.Image{}, map[digest.Digest]bool{}, 0
	l.planned.Images, l.planned.Blobs = nil, nil
	for key, i := range base {
		if !l.skipped[i.Digest] {
			l.images[key] = i
			l.digests[i.Digest] = true
		}
	}
}

// imageReason returns the reason why an image is broken. If the wrong content is not the image
// itself, the reason names this content.
func imageReason(image, wrong digest.Digest, reason string) string {
	if image == wrong {
		return reason
	}
	return fmt.Sprintf("its content %s: %s", wrong, reason)
}
