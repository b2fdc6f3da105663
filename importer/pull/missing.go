package pull

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/imagefile"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Gap is a problem with content of the source, and the part of the bundle that it affects.
// The part decides whether it is optional. The repository is that of the registry.
type Gap struct {
	layoutstore.Problem
	Component string // as "module console"
	Part      Part
	lost      bool // a blob that is missing or damaged in the source
}

// NewGap returns the gap of a tag or digest that is missing or damaged in a repository of
// the registry.
func NewGap(kind layoutstore.Kind, repository, reference, reason string) Gap {
	p := layoutstore.Problem{Kind: kind, Repository: repository, Reason: reason}
	if d := digest.Digest(reference); d.Validate() == nil {
		p.Digest = d
	} else if reference != "" {
		p.Tags = []string{reference}
	}
	return Gap{Problem: p}
}

// newGap returns the gap of a tag or digest that is missing, or leads to missing content.
func newGap(repository, reference, reason string) Gap {
	return NewGap(layoutstore.Incomplete, repository, reference, reason)
}

// imageGap is the gap of an image.
func imageGap(kind layoutstore.Kind, repository string, i bundle.Image, reason string) Gap {
	g := NewGap(kind, repository, i.Tag, reason)
	g.Digest = i.Digest
	return g
}

// kindOf returns the kind of problem that an error of the registry is.
func kindOf(err error) layoutstore.Kind {
	if IsAbsent(err) {
		return layoutstore.Incomplete
	}
	return layoutstore.Damaged
}

// String names the content as the registry does.
func (g Gap) String() string {
	s := g.Repository
	if tag := g.Tag(); tag != "" {
		s += ":" + tag
	}
	if g.Digest != "" {
		s += "@" + g.Digest.String()
	}
	return s + ": " + g.Reason
}

// MarshalJSON writes what applies to content of a registry.
func (g Gap) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Kind       layoutstore.Kind `json:"kind"`
		Component  string           `json:"component,omitempty"`
		Repository string           `json:"repository"`
		Tag        string           `json:"tag,omitempty"`
		Digest     digest.Digest    `json:"digest,omitempty"`
		Reason     string           `json:"reason"`
	}{g.Kind, g.Component, g.Repository, g.Tag(), g.Digest, g.Reason})
}

// equal reports whether two gaps say the same.
func (g Gap) equal(other Gap) bool {
	return g.Component == other.Component && g.Part == other.Part && g.lost == other.lost && g.Problem.Equal(other.Problem)
}

// IncompleteError says that content is missing or damaged. Nothing was published.
type IncompleteError struct{ Gaps []Gap }

// Incomplete returns an error for gaps, sorted; nil for none.
func Incomplete(gaps []Gap) error {
	if len(gaps) == 0 {
		return nil
	}
	return &IncompleteError{ordered(gaps)}
}

// GapError is the error of reading an image of the source, for what is wrong with a tag of a
// repository: a gap, where its content is to blame.
func GapError(repository, tag string, err error) error {
	var format *imagefile.FormatError
	if IsUnusable(err) || errors.As(err, &format) || isWrongContent(err) || IsAbsent(err) {
		return Incomplete([]Gap{NewGap(kindOf(err), repository, tag, err.Error())})
	}
	return fmt.Errorf("%s:%s: %w", repository, tag, err)
}

// CanDoWithout reports whether a pull that may be incomplete would publish the rest.
func (e *IncompleteError) CanDoWithout() bool {
	return !slices.ContainsFunc(e.Gaps, func(g Gap) bool { return !g.Part.Optional && !g.lost })
}

func (e *IncompleteError) Error() string {
	lines := make([]string, len(e.Gaps))
	for i, g := range e.Gaps {
		lines[i] = g.String()
	}
	noun := "things are"
	if len(lines) == 1 {
		noun = "thing is"
	}
	return fmt.Sprintf("%d %s missing or wrong in the source:\n  %s", len(lines), noun, strings.Join(lines, "\n  "))
}

// ordered sorts gaps, each once.
func ordered(gaps []Gap) []Gap {
	all := append([]Gap{}, gaps...)
	slices.SortFunc(all, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Tag(), b.Tag()), cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Reason, b.Reason))
	})
	return slices.CompactFunc(all, Gap.equal)
}

// Gap notes that a part of a component is missing or wrong: a tag or digest, or all of a
// repository.
func (d *Draft) Gap(part Part, component, repository, reference, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := newGap(repository, reference, reason)
	g.Part, g.Component = part, component
	d.gaps = append(d.gaps, g)
}

// GapOf notes a gap of a layout, of what it has under the tags. One that may be left out is
// left out then.
func (d *Draft) GapOf(l *Layout, g Gap, tags ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g.Part = l.rules.Part
	for _, c := range d.components {
		if slices.Contains(c.Archives, l.archive) {
			g.Component = c.Name
		}
	}
	if l.rules.Optional {
		l.faults = append(l.faults, g)
		return
	}
	d.gaps = append(d.gaps, g)
	for _, tag := range tags {
		for _, u := range l.neededBy[tag] {
			d.incomplete[u] = g.Reason
		}
	}
}

// TagGap notes that what a layout was to have under a tag is missing or wrong.
func (d *Draft) TagGap(l *Layout, tag, reason string) {
	d.GapOf(l, newGap(l.Repository, tag, reason), tag)
}

// Missing notes something optional that the source does not have: a tag or digest, or all
// of a repository.
func (d *Draft) Missing(repository, reference, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.missing = append(d.missing, newGap(repository, reference, reason))
}

// leaveOut empties the optional layouts that are incomplete.
func (d *Draft) leaveOut() {
	for _, l := range d.order {
		if len(l.faults) > 0 {
			l.planned.Images, l.planned.Blobs = nil, nil
			d.missing = append(d.missing, l.faults...)
		}
	}
}

// findContradictions finds blobs to which two layouts give different sizes. At least one is
// wrong, so the archive would differ from its plan.
func (d *Draft) findContradictions() {
	sizes := map[digest.Digest]int64{}
	for _, l := range d.order {
		for _, b := range l.planned.Blobs {
			if size, ok := sizes[b.Digest]; ok && size != b.Size {
				d.Gap(contradiction(), "", l.Repository, b.Digest.String(), fmt.Sprintf("a manifest of this repository says %d bytes, one of another says %d", b.Size, size))
			}
			sizes[b.Digest] = b.Size
		}
	}
}

// withLostBlobs adds to an error about gaps the blobs of the rest that the source does not
// have: a pull that ends before it fetches lists them too. It asks for them and fetches none.
func (d *Draft) withLostBlobs(ctx context.Context, err error) error {
	var gaps *IncompleteError
	if !errors.As(err, &gaps) || d.Source.work == nil {
		return err
	}
	repositories, blobs := map[digest.Digest][]string{}, []closure.Descriptor{}
	for _, l := range d.order {
		for _, b := range l.planned.Blobs {
			if repositories[b.Digest] == nil && !l.rules.Optional {
				blobs = append(blobs, b)
			}
			repositories[b.Digest] = append(repositories[b.Digest], l.Repository)
		}
	}
	lost := make([][]Gap, len(blobs))
	if err := d.Each(ctx, len(blobs), func(ctx context.Context, i int) (err error) {
		lost[i], err = d.Source.lostBlob(ctx, blobs[i], repositories[blobs[i].Digest])
		return err
	}); err != nil {
		return gaps // what the source does not say is not listed
	}
	return Incomplete(slices.Concat(gaps.Gaps, slices.Concat(lost...)))
}

// lostBlob returns the gap of a blob that is neither stored here nor in any repository.
func (s *Source) lostBlob(ctx context.Context, b closure.Descriptor, repositories []string) ([]Gap, error) {
	where, _ := s.reusable.Find(repositories[0], b.Digest, b.Size)
	if where != nil || s.work.has(b.Digest, b.Size) {
		return nil, nil
	}
	for _, repository := range repositories {
		if _, err := s.registry.HeadBlob(ctx, repository, b.Digest); !IsAbsent(err) {
			return nil, err
		}
	}
	g := newGap(repositories[0], b.Digest.String(), problem.Missing)
	g.lost = true
	return []Gap{g}, nil
}
