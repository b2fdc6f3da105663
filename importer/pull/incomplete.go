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

// Part is the part of a bundle that a problem affects: whether an incomplete bundle can be
// published without it, and why.
type Part struct {
	Optional bool
	Reason   string
}

// requiredPart returns the part of planned content about which nothing else is known.
func requiredPart() Part { return Part{false, "the plan requires it"} }

// Unit is one version of a component, which is pulled completely or not at all.
type Unit struct{ Component, Version string }

// allowance records the missing content that an incomplete pull may leave out. If the allowance is
// nil, the pull must be complete.
type allowance struct {
	lost     map[digest.Digest]string // blobs that are missing or damaged in the source, and why
	skip     map[Unit]bool            // incomplete units
	problems []Problem
}

func newAllowance(o *Options) *allowance {
	if !o.AllowIncomplete {
		return nil
	}
	return &allowance{lost: map[digest.Digest]string{}, skip: map[Unit]bool{}}
}

// noteLost notes the lost blobs that an error lists, and reports whether to retry the pull
// without them.
func (a *allowance) noteLost(err error) bool {
	var incomplete *IncompleteError
	if a == nil || !errors.As(err, &incomplete) {
		return false
	}
	before := len(a.lost)
	for _, g := range incomplete.Problems {
		if !g.lost {
			return false
		}
		a.lost[g.Digest] = g.Reason
	}
	return len(a.lost) > before
}

// Need notes that a unit needs the image of a tag in a layout.
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

// Absorb turns an *IncompleteError into problems of a part of a unit, which may have no version.
// It returns any other error.
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

// judgeProblems decides whether a draft can be pulled in spite of its problems. Errors:
// *IncompleteError if not; errIncompleteUnits if it must be planned again without more units.
func (d *Draft) judgeProblems() error {
	if d.allow == nil {
		return Incomplete(d.problems)
	}
	refused := false
	for i, g := range d.problems {
		if !g.Part.Optional {
			refused = true
			d.problems[i].Reason += ": a pull cannot do without it: " + cmp.Or(g.Part.Reason, requiredPart().Reason)
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

// markRequired returns problems, marked as required content: without it, nothing is left to
// publish.
func markRequired(problems []Problem) []Problem {
	problems = slices.Clone(problems)
	for i := range problems {
		problems[i].Part = requiredPart()
	}
	return problems
}

// uniqueProblems sorts problems and keeps only the first one for each tag or digest of a
// component.
func uniqueProblems(problems []Problem) []Problem {
	all := sortProblems(problems)
	slices.SortStableFunc(all, func(a, b Problem) int { return strings.Compare(a.Component, b.Component) })
	return slices.CompactFunc(all, func(a, b Problem) bool {
		return a.Component == b.Component && a.Repository == b.Repository && a.Tag() == b.Tag() && a.Digest == b.Digest
	})
}

// dropImages removes broken images from a layout, given by their digests and the reasons, and
// resets it to the other images of base.
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

// imageReason returns the reason why an image is broken, and names the broken content unless it
// is the image itself.
func imageReason(image, wrong digest.Digest, reason string) string {
	if image == wrong {
		return reason
	}
	return fmt.Sprintf("%s in it: %s", wrong, reason)
}
