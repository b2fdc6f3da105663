package layoutstore

import (
	"slices"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Problem is something that cannot be served as it should be: what, where and why.
type Problem = problem.Problem

// ProblemError refuses content that the tree names and that is missing or damaged. It wraps
// ErrManifestUnknown or ErrBlobUnknown; from [Layout.Locate], fs.ErrNotExist.
type ProblemError = problem.Error

// Kind says what is wrong.
type Kind = problem.Kind

// The kinds of problem.
const (
	Damaged     = problem.Damaged
	Incomplete  = problem.Incomplete
	Conflict    = problem.Conflict
	IllegalName = problem.IllegalName
	Limited     = problem.Limited
)

func sortProblems(ps []Problem) { slices.SortFunc(ps, problem.Compare) }

// tagList returns a list with one tag, or nil for the empty tag. It truncates an illegal tag of
// any length.
func tagList(tag string) []string {
	if tag == "" {
		return nil
	}
	return []string{tag[:min(len(tag), 256)]}
}
