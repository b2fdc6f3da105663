package layoutstore

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Kind says what is wrong with something that is not served.
type Kind = volume.Kind

// The kinds of problem.
const (
	Damaged     = volume.Damaged
	Incomplete  = volume.Incomplete
	Conflict    = volume.Conflict
	IllegalName = volume.IllegalName
	Limited     = volume.Limited
)

// Problem is something that cannot be served: what, where and why. The fields
// that say nothing are empty.
type Problem struct {
	Kind       Kind          `json:"kind"`
	Path       string        `json:"path"`       // file or directory
	Entry      string        `json:"entry"`      // of an archive
	Chunk      string        `json:"chunk"`      // to copy again, as "chunk 0003"; the most likely, or "chunk 0003 and chunk 0004"
	Repository string        `json:"repository"` // as it is served, below the first root
	Tag        string        `json:"tag"`
	Digest     digest.Digest `json:"digest"`
	Reason     string        `json:"reason"`
	// Layout is the path of the repository's layouts below the roots; empty where the
	// problem concerns no repository.
	Layout string `json:"-"`
	// TagsUnknown says that tags may lie in it that nobody can name: in an index that
	// cannot be read, or behind the place where an archive's headers end.
	TagsUnknown bool `json:"-"`
	// Harmless says that nothing is missing for it: it is reported and changes no exit
	// status.
	Harmless bool `json:"-"`
	// Passing is set where something could not be read, which says nothing of the content.
	Passing bool `json:"-"`
}

// IsFailure says whether content is missing, wrong or not served for the problem, so
// that a command that meets it exits with 3. It is not so for a conflict, where the
// later of two contents is served, nor for what is harmless.
func (p Problem) IsFailure() bool { return p.Kind != Conflict && !p.Harmless }

// String is the problem on one line.
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", p.Kind, p.Path)
	if p.Entry != "" {
		fmt.Fprintf(&b, ": %s", p.Entry)
	}
	if p.Chunk != "" && !strings.Contains(p.Reason, p.Chunk) {
		fmt.Fprintf(&b, " in %s", p.Chunk)
	}
	if p.Repository != "" {
		fmt.Fprintf(&b, ": repository %s", p.Repository)
	}
	if p.Tag != "" {
		fmt.Fprintf(&b, ": tag %q", p.Tag)
	}
	if p.Digest != "" {
		fmt.Fprintf(&b, ": %s", p.Digest)
	}
	return b.String() + ": " + p.Reason
}

func sortProblems(ps []Problem) {
	slices.SortFunc(ps, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Entry, b.Entry),
			strings.Compare(a.Repository, b.Repository), strings.Compare(a.Tag, b.Tag),
			strings.Compare(string(a.Digest), string(b.Digest)), strings.Compare(a.Reason, b.Reason))
	})
}
