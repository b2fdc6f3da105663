package pull

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/imagefile"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Problem is a problem with content of the source. Its repository is the one in the registry. Its
// part of the bundle decides whether the content is optional.
type Problem struct {
	layoutstore.Problem
	Component string // name of the component, such as "module console"
	Part      Part
	lost      bool // whether the content is a blob that is missing or damaged in the source
	spare     bool // whether only optional layouts need this blob
}

// NewProblem returns a problem of a tag or digest in a repository of the registry.
func NewProblem(kind layoutstore.Kind, repository, reference, reason string) Problem {
	p := layoutstore.Problem{Kind: kind, Repository: repository, Reason: reason}
	if d := digest.Digest(reference); d.Validate() == nil {
		p.Digest = d
	} else if reference != "" {
		p.Tags = []string{reference}
	}
	return Problem{Problem: p}
}

// newMissing returns the problem of a tag or digest that is missing or leads to missing content.
func newMissing(repository, reference, reason string) Problem {
	return NewProblem(layoutstore.Incomplete, repository, reference, reason)
}

func newImageProblem(kind layoutstore.Kind, repository string, i bundle.Image, reason string) Problem {
	g := NewProblem(kind, repository, i.Tag, reason)
	g.Digest = i.Digest
	return g
}

// String returns the name of the content in the registry, and the reason.
func (g Problem) String() string {
	s := g.Repository
	if tag := g.Tag(); tag != "" {
		s += ":" + problem.OneLine(tag)
	}
	if g.Digest != "" {
		s += "@" + g.Digest.String()
	}
	return s + ": " + g.Reason
}

// MarshalJSON omits fields that make no sense for content of a registry.
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
	return g.Component == other.Component && g.Part == other.Part && g.lost == other.lost && g.spare == other.spare && g.Problem.Equal(other.Problem)
}

// IncompleteError lists the content that is missing or damaged in the registry, and the parts of
// the product that it belongs to. Nothing was published. (The import of an incomplete bundle fails
// with importer.IncompleteError instead.)
type IncompleteError struct{ Problems []Problem }

// Incomplete returns an error with the sorted problems, or nil if there are none.
func Incomplete(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return &IncompleteError{sortProblems(problems)}
}

// ImageError returns an error that names an image. If the image is missing or damaged, it is an
// [*IncompleteError]. Otherwise, it wraps err.
func ImageError(repository, tag string, err error) error {
	kind := layoutstore.Damaged
	if IsAbsent(err) {
		kind = layoutstore.Incomplete
	} else if !IsUnusable(err) && !errors.As(err, new(*imagefile.FormatError)) && !bundle.IsDigestError(err) {
		return fmt.Errorf("%s:%s: %w", repository, tag, err)
	}
	return Incomplete([]Problem{NewProblem(kind, repository, tag, err.Error())})
}

// IsOptional reports whether all missing content is optional. If so, a pull that may be incomplete
// would publish the rest.
func (e *IncompleteError) IsOptional() bool {
	return !slices.ContainsFunc(e.Problems, func(g Problem) bool { return !g.Part.Optional && !g.lost })
}

func (e *IncompleteError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, g := range e.Problems {
		lines[i] = g.String()
	}
	count := english.Plural(len(lines), "thing is", "things are")
	return fmt.Sprintf("%s missing or damaged in the source:\n  %s", count, strings.Join(lines, "\n  "))
}

func sortProblems(problems []Problem) []Problem {
	all := append([]Problem{}, problems...)
	slices.SortFunc(all, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Tag(), b.Tag()), cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Reason, b.Reason))
	})
	return slices.CompactFunc(all, Problem.equal)
}

// AddProblem records that a tag or digest of a component is missing or damaged. An empty reference
// stands for the complete repository.
func (d *Draft) AddProblem(part Part, component, repository, reference, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := newMissing(repository, reference, reason)
	g.Part, g.Component = part, component
	d.problems = append(d.problems, g)
}

// AddLayoutProblem records a problem of a layout, and the tags that it affects. If the layout is
// optional, the pull leaves it out.
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
			d.incomplete[u] = true
		}
	}
}

// AddTagProblem records that the image with a tag of a layout is missing or damaged.
func (d *Draft) AddTagProblem(l *Layout, tag, reason string) {
	d.AddLayoutProblem(l, newMissing(l.Repository, tag, reason), tag)
}

// AddMissing records that the source does not have an optional tag or digest. An empty reference
// stands for the complete repository.
func (d *Draft) AddMissing(repository, reference, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.missing = append(d.missing, newMissing(repository, reference, reason))
}

// isLeftOut reports whether a layout is optional and incomplete, so that the pull leaves it out.
func (d *Draft) isLeftOut(l *Layout) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(l.problems) > 0
}

// emptyIncomplete removes all content from optional layouts that are incomplete.
func (d *Draft) emptyIncomplete() {
	for _, l := range d.order {
		if len(l.problems) > 0 {
			l.planned.Images, l.planned.Blobs = nil, nil
			d.missing = append(d.missing, l.problems...)
		}
	}
}

// findContradictions finds blobs for which two layouts state different sizes. At least one size is
// wrong, so an archive would differ from its plan.
func (d *Draft) findContradictions() {
	sizes := map[digest.Digest]int64{}
	for _, l := range d.order {
		for _, b := range l.planned.Blobs {
			if size, ok := sizes[b.Digest]; ok && size != b.Size {
				part := Part{false, "it is unknown which of the manifests is wrong"}
				d.AddProblem(part, "", l.Repository, b.Digest.String(), fmt.Sprintf("a manifest of this repository states a size of %d bytes, and a manifest of another repository states %d bytes", b.Size, size))
			}
			sizes[b.Digest] = b.Size
		}
	}
}

// withLostBlobs adds to an *IncompleteError all blobs that the source does not have. So these blobs
// are listed even if a pull fails before it fetches them. withLostBlobs sends only HEAD requests.
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
		return incomplete // if the source does not answer, lost blobs are not listed
	}
	return Incomplete(slices.Concat(incomplete.Problems, slices.Concat(lost...)))
}

// lostBlob returns a problem if a blob is stored neither locally nor in any of the repositories.
// Otherwise, it returns nothing.
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
