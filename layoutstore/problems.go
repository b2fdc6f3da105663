package layoutstore

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Problem is something that cannot be served as it should be: what, where and why.
type Problem = problem.Problem

// ProblemError refuses content that the tree names and that is missing or damaged. It wraps
// ErrManifestUnknown or ErrBlobUnknown; from [Layout.Locate], fs.ErrNotExist.
type ProblemError = problem.Error

// Kind is the kind of a problem.
type Kind = problem.Kind

// The kinds of problem.
const (
	Damaged     = problem.Damaged
	Incomplete  = problem.Incomplete
	Conflict    = problem.Conflict
	IllegalName = problem.IllegalName
	Limited     = problem.Limited
)

// Errors of a lookup. Test with errors.Is.
var (
	ErrNameInvalid       = errors.New("invalid repository name")
	ErrRepositoryUnknown = errors.New("repository unknown")
	ErrManifestUnknown   = errors.New("manifest unknown")
	ErrBlobUnknown       = errors.New("blob unknown")
	// ErrStale says that a file changed after it was found and before it was opened.
	ErrStale = extent.ErrStale
)

// IsExhausted reports whether err means that the process or the system has run out of open
// files or memory, or that a bucket cannot be reached. Such an error is not about the content.
func IsExhausted(err error) bool { return volume.IsExhausted(err) }

// IsTransient reports whether err is about a disk, a network or a permission, and not about
// the content: a later read may succeed.
func IsTransient(err error) bool { return volume.IsTransient(err) }

func sortProblems(ps []Problem) { slices.SortFunc(ps, problem.Compare) }

// tagList returns a list of one tag, or nil for the empty tag. It truncates a tag that is too
// long.
func tagList(tag string) []string {
	if tag == "" {
		return nil
	}
	return []string{tag[:min(len(tag), 256)]}
}

// refuse returns the error that refuses content because of a problem at a place. The error
// wraps unknown.
func refuse(p Problem, at place, unknown error) *ProblemError {
	p.Path, p.Entry, p.Err = at.path, at.entry, unknown
	return &ProblemError{Problem: p}
}

// refuseDamaged refuses damaged content, which is stored at where.
func refuseDamaged(d digest.Digest, reason string, where extent.List, at place, unknown error) *ProblemError {
	return refuse(Problem{Kind: Damaged, Digest: d, Reason: reason, Chunks: chunksOf(where)}, at, unknown)
}

// refuseUnreadable refuses content that cannot be read.
func refuseUnreadable(d digest.Digest, cause error, at place, unknown error) *ProblemError {
	return refuse(Problem{Kind: Damaged, Digest: d, Reason: cause.Error(), Transient: IsTransient(cause)}, at, unknown)
}

// refuseMissing refuses content that is in no layout.
func refuseMissing(d digest.Digest, unknown error) *ProblemError {
	return refuse(Problem{Kind: Incomplete, Digest: d, Reason: problem.Missing}, place{}, unknown)
}

// missingProblem returns the problem in err. ok is false unless err says that content is missing
// and why, for example that a chunk is missing.
func missingProblem(err error) (missing Problem, ok bool) {
	var e *ProblemError
	if errors.As(err, &e) && errors.Is(err, fs.ErrNotExist) {
		return e.Problem, true
	}
	return Problem{}, false
}
