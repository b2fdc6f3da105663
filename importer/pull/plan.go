package pull

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/imagefile"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Plan is what a pull fetches and writes.
type Plan struct {
	Source     string            `json:"source"`
	Archives   []*bundle.Archive `json:"archives"`   // by their names
	Components []*Component      `json:"components"` // for people: what was chosen, and why
	// Files are written beside the archives: they are no content of a registry.
	Files []PlannedFile `json:"files,omitempty"`
	// Missing is what the source does not have, and the pull does without.
	Missing []Gap `json:"missing"`
	// Holes are what the source should have and does not, or has wrong, of a pull that may
	// be incomplete: nothing that is planned leads to them.
	Holes []Gap `json:"holes"`
}

// PlannedFile is a file that is written beside the archives.
type PlannedFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes

	data []byte
}

// Component is a part of a product, as a person knows it.
type Component struct {
	Name     string   `json:"name"`
	Archives []string `json:"archives"`
	Versions []string `json:"versions,omitempty"`
	// Channels are release channels and the version that each points at.
	Channels map[string]string `json:"channels,omitempty"`
	Images   int               `json:"images"`          // that indexes name
	Bytes    int64             `json:"bytes"`           // of its archives
	Notes    []string          `json:"notes,omitempty"` // what was left out, and why
}

func (c *Component) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// Gap is something that the source should have and has not.
type Gap struct {
	Component  string        `json:"component,omitempty"` // as "module console"
	Repository string        `json:"repository"`
	Tag        string        `json:"tag,omitempty"`
	Digest     digest.Digest `json:"digest,omitempty"`
	Reason     string        `json:"reason"`

	piece piece
	lost  bool // a blob that cannot be had
}

func (g Gap) String() string {
	s := g.Repository
	if g.Tag != "" {
		s += ":" + g.Tag
	}
	if g.Digest != "" {
		s += "@" + g.Digest.String()
	}
	return s + ": " + g.Reason
}

// IncompleteError says that content is missing, or is not what it has to be. Nothing
// was published.
type IncompleteError struct{ Gaps []Gap }

// CanDoWithout reports whether a pull that may be incomplete would publish the rest.
func (e *IncompleteError) CanDoWithout() bool {
	return !slices.ContainsFunc(e.Gaps, func(g Gap) bool {
		ok, _ := tolerates(g.piece)
		return !ok && !g.lost
	})
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

// incomplete is an error for the gaps, in an order of their own; nil for none.
func incomplete(gaps []Gap) error {
	if len(gaps) == 0 {
		return nil
	}
	return &IncompleteError{ordered(gaps)}
}

// ordered sorts gaps, each once.
func ordered(gaps []Gap) []Gap {
	all := append([]Gap{}, gaps...)
	slices.SortFunc(all, func(a, b Gap) int {
		return cmp.Or(strings.Compare(a.Repository, b.Repository), strings.Compare(a.Tag, b.Tag),
			cmp.Compare(a.Digest, b.Digest), strings.Compare(a.Reason, b.Reason))
	})
	return slices.Compact(all)
}

// unusable says that content of the source is there and cannot be used.
type unusable struct{ error }

func (u unusable) Unwrap() error { return u.error }

// broken is an error of looking into an image of the source: a gap, where it is the
// content that is to blame.
func broken(repository, reference string, err error) error {
	var u unusable
	var format *imagefile.FormatError
	if errors.As(err, &u) || errors.As(err, &format) || isWrongContent(err) || errors.Is(err, client.ErrMismatch) || absent(err) {
		return incomplete([]Gap{{Repository: repository, Tag: reference, Reason: err.Error()}})
	}
	return fmt.Errorf("%s:%s: %w", repository, reference, err)
}

// Blobs is how much the plan's archives hold, in blobs and in bytes: content that lies in several
// layouts counts once.
func (p *Plan) Blobs() (blobs int, size int64) {
	seen := map[digest.Digest]bool{}
	for _, a := range p.Archives {
		for _, l := range a.Layouts {
			for _, b := range l.Blobs {
				if !seen[b.Digest] {
					seen[b.Digest] = true
					blobs++
					size += b.Size
				}
			}
		}
	}
	return blobs, size
}

// Images is the number of manifests that the indexes name.
func (p *Plan) Images() (n int) {
	for _, a := range p.Archives {
		n += a.CountImages()
	}
	return n
}

// names are the names of all that is planned: archives, indexes and files beside them.
func (p *Plan) names() map[string]bool {
	all := map[string]bool{}
	for _, a := range p.Archives {
		all[a.Name] = true
		for _, l := range a.Layouts {
			all[path.Join(l.Path, specs.ImageIndexFile)] = true
		}
	}
	for _, f := range p.Files {
		all[f.Name] = true
	}
	return all
}
