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

// Problem is a problem with content of the source, and the part of the bundle that it affects.
// The part decides whether it is optional. The repository is that of the registry.
type Problem struct {
	layoutstore.Problem
	Component string // as "module console"
	Part      Part
	lost      bool // a blob that is missing or damaged in the source
}

// NewProblem returns the problem of a tag or digest that is missing or damaged in a
// repository of the registry.
func NewProblem(kind layoutstore.Kind, repository, reference, reason string) Problem {
	p := layoutstore.Problem{Kind: kind, Repository: repository, Reason: reason}
	if d := digest.Digest(reference); d.Validate() == nil {
		p.Digest = d
	} else if reference != "" {
		p.Tags = []string{reference}
	}
	return Problem{Problem: p}
}

// newMissing returns the problem of a tag or digest that is missing, or leads to missing
// content.
func newMissing(repository, reference, reason string) Problem {
	return NewProblem(layoutstore.Incomplete, repository, reference, reason)
}

func newImageProblem(kind layoutstore.Kind, repository string, i bundle.Image, reason string) Problem {
	g := NewProblem(kind, repository, i.Tag, reason)
	g.Digest = i.Digest
	return g
}

// kindOf returns the kind of problem that an error of the registry reports.
func kindOf(err error) layoutstore.Kind {
	if IsAbsent(err) {
		return layoutstore.Incomplete
	}
	return layoutstore.Damaged
}

// String names the content as the registry does.
func (g Problem) String() string {
	s := g.Repository
	if tag := g.Tag(); tag != "" {
		s += ":" + tag
	}
	if g.Digest != "" {
		s += "@" + g.Digest.String()
	}
	return s + ": " + g.Reason
}

// MarshalJSON leaves out what does not apply to content of a registry.
func (g Problem) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Kind       layoutstore.Kind `json:"kind"`
		Component  string           `json:"component,omitempty"`
		Repository string           `json:"repository"`
		Tag        string           `json:"tag,omitempty"`
		Digest     digest.Digest    `json:"digest,omitempty"`
		Reason     string           `json:"reason"`
	}{g.Kind, g.Component, g.Repository, g.Tag(), g.Digest, g.Reason})
}

func (g Problem) equal(other Problem) bool {
	return g.Component == other.Component && g.Part == other.Part && g.lost == other.lost && g.Problem.Equal(other.Problem)
}

// IncompleteError says that content is missing or damaged in the registry, and of which part
// of the product. Nothing was published. A bundle that is imported has problems with files
// instead: importer.IncompleteError.
type IncompleteError struct{ Problems []Problem }

// Incomplete returns an error for problems, sorted; nil for none.
func Incomplete(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return &IncompleteError{sortProblems(problems)}
}

// ImageError returns the error of reading an image of the source under a tag: an
// [IncompleteError] if its content is to blame.
func ImageError(repository, tag string, err error) error {
	var format *imagefile.FormatError
	if IsUnusable(err) || errors.As(err, &format) || bundle.IsDigestError(err) || IsAbsent(err) {
		return Incomplete([]Problem{NewProblem(kindOf(err), repository, tag, err.Error())})
	}
	return fmt.Errorf("%s:%s: %w", repository, tag, err)
}

// CanDoWithout reports whether a pull that may be incomplete would publish the rest.
func (e *IncompleteError) CanDoWithout() bool {
	return !slices.ContainsFunc(e.Problems, func(g Problem) bool { return !g.Part.Optional && !g.lost })
}

func (e *IncompleteError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, g := range e.Problems {
		lines[i] = g.String()
	}
	noun := "things are"
	if len(lines) == 1 {
		noun = "thing is"
	}
	return fmt.Sprintf("%d %s missing or damaged in the source:\n  %s", len(lines), noun, strings.Join(lines, "\n  "))
}

// sortProblems sorts problems and removes duplicates.
func sortProblems(problems []Problem) []Problem {
	all := append([]Problem{}, problems...)
	slices.SortFunc(all, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Tag(), b.Tag()), cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Reason, b.Reason))
	})
	return slices.CompactFunc(all, Problem.equal)
}

// AddProblem notes that a part of a component is missing or damaged: a tag or digest, or a
// complete repository.
func (d *Draft) AddProblem(part Part, component, repository, reference, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := newMissing(repository, reference, reason)
	g.Part, g.Component = part, component
	d.problems = append(d.problems, g)
}

// AddLayoutProblem notes a problem of a layout, which affects its tags. An optional layout is
// left out then.
func (d *Draft) AddLayoutProblem(l *Layout, g Problem, tags ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g.Part = l.rules.Part
	for _, c := range d.components {
		if slices.Contains(c.Archives, l.archive) {
			g.Component = c.Name
		}
	}
	if l.rules.Optional {
		l.problems = append(l.problems, g)
		return
	}
	d.problems = append(d.problems, g)
	for _, tag := range tags {
		for _, u := range l.neededBy[tag] {
			d.incomplete[u] = g.Reason
		}
	}
}

// AddTagProblem notes that the image of a tag of a layout is missing or damaged.
func (d *Draft) AddTagProblem(l *Layout, tag, reason string) {
	d.AddLayoutProblem(l, newMissing(l.Repository, tag, reason), tag)
}

// AddMissing notes optional content that the source does not have: a tag or digest, or a
// complete repository.
func (d *Draft) AddMissing(repository, reference, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.missing = append(d.missing, newMissing(repository, reference, reason))
}

// emptyIncomplete empties the optional layouts that are incomplete.
func (d *Draft) emptyIncomplete() {
	for _, l := range d.order {
		if len(l.problems) > 0 {
			l.planned.Images, l.planned.Blobs = nil, nil
			d.missing = append(d.missing, l.problems...)
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
				d.AddProblem(contradiction(), "", l.Repository, b.Digest.String(), fmt.Sprintf("a manifest of this repository says %d bytes, one of another says %d", b.Size, size))
			}
			sizes[b.Digest] = b.Size
		}
	}
}

// withLostBlobs adds to an error the other blobs that the source does not have: a pull that
// ends before it fetches lists them too. It asks for them and fetches none.
func (d *Draft) withLostBlobs(ctx context.Context, err error) error {
	var incomplete *IncompleteError
	if !errors.As(err, &incomplete) || d.Source.work == nil {
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
	lost := make([][]Problem, len(blobs))
	if err := d.Each(ctx, len(blobs), func(ctx context.Context, i int) (err error) {
		lost[i], err = d.Source.lostBlob(ctx, blobs[i], repositories[blobs[i].Digest])
		return err
	}); err != nil {
		return incomplete // without an answer of the source, they are not listed
	}
	return Incomplete(slices.Concat(incomplete.Problems, slices.Concat(lost...)))
}

// lostBlob returns the problem of a blob that is neither stored here nor in any
// repository.
func (s *Source) lostBlob(ctx context.Context, b closure.Descriptor, repositories []string) ([]Problem, error) {
	where, _, err := s.reusable.Find(ctx, repositories[0], b.Digest, b.Size)
	if err != nil {
		return nil, err
	}
	if where != nil || s.work.hasBlob(b.Digest, b.Size) {
		return nil, nil
	}
	for _, repository := range repositories {
		if _, err := s.registry.HeadBlob(ctx, repository, b.Digest); !IsAbsent(err) {
			return nil, err
		}
	}
	g := newMissing(repositories[0], b.Digest.String(), problem.Missing)
	g.lost = true
	return []Problem{g}, nil
}
