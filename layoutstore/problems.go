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

// Problem describes something that cannot be served as it should be: what it is, where, and why.
type Problem = problem.Problem

// ProblemError is the error for missing or damaged content to which the tree refers. It wraps
// ErrManifestUnknown or ErrBlobUnknown. If [Layout.Locate] returns it, it wraps fs.ErrNotExist.
type ProblemError = problem.Error

// Kind is the kind of a problem.
type Kind = problem.Kind

// These are the kinds of problems.
const (
	Damaged     = problem.Damaged
	Incomplete  = problem.Incomplete
	Conflict    = problem.Conflict
	IllegalName = problem.IllegalName
	Limited     = problem.Limited
)

// These are the errors of lookups. Test for them with errors.Is.
var (
	ErrNameInvalid       = errors.New("invalid repository name")
	ErrRepositoryUnknown = errors.New("repository unknown")
	ErrManifestUnknown   = errors.New("manifest unknown")
	ErrBlobUnknown       = errors.New("blob unknown")
	// ErrStale is the error if a file changed after it was found and before it was opened.
	ErrStale = extent.ErrStale
)

// IsExhausted reports whether err means that open files or memory have run out, that another program
// has a lease on the file, or that a bucket cannot be reached. Such an error is not about the content.
func IsExhausted(err error) bool { return volume.IsExhausted(err) }

// IsTransient reports whether err is about a disk, a network or a permission, not about the
// content. A later read may succeed.
func IsTransient(err error) bool { return volume.IsTransient(err) }

func sortProblems(ps []Problem) { slices.SortFunc(ps, problem.Compare) }

// tagList returns a list with one tag, or nil for an empty tag. It truncates very long tags.
func tagList(tag string) []string {
	if tag == "" {
		return nil
	}
	return []string{tag[:min(len(tag), 256)]}
}

// refuse returns the error for content with a problem at a place. The error wraps unknown.
func refuse(p Problem, at place, unknown error) *ProblemError {
	p.Path, p.Entry, p.Err = at.path, at.entry, unknown
	return &ProblemError{Problem: p}
}

// refuseDamaged returns the error for damaged content, whose bytes are at where.
func refuseDamaged(d digest.Digest, reason string, where extent.List, at place, unknown error) *ProblemError {
	return refuse(Problem{Kind: Damaged, Digest: d, Reason: reason, Chunks: chunksOf(where)}, at, unknown)
}

// refuseUnreadable returns the error for content that cannot be read.
func refuseUnreadable(d digest.Digest, cause error, at place, unknown error) *ProblemError {
	return refuse(Problem{Kind: Damaged, Digest: d, Reason: cause.Error(), Transient: IsTransient(cause)}, at, unknown)
}

// refuseMissing returns the error for content that no layout contains.
func refuseMissing(d digest.Digest, unknown error) *ProblemError {
	return refuse(Problem{Kind: Incomplete, Digest: d, Reason: problem.Missing}, place{}, unknown)
}

// missingProblem returns the problem in err if the problem explains why content is missing, for
// example that a chunk is missing. Otherwise, ok is false.
func missingProblem(err error) (missing Problem, ok bool) {
	var e *ProblemError
	if errors.As(err, &e) && errors.Is(err, fs.ErrNotExist) {
		return e.Problem, true
	}
	return Problem{}, false
}
