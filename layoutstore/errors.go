package layoutstore

import (
	"errors"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// What a lookup can fail with. Test with errors.Is.
var (
	ErrNameInvalid       = errors.New("invalid repository name")
	ErrRepositoryUnknown = errors.New("repository unknown")
	ErrManifestUnknown   = errors.New("manifest unknown")
	ErrBlobUnknown       = errors.New("blob unknown")
	// ErrStale says that a file changed between being found and being opened.
	ErrStale = extent.ErrStale
)

// refused refuses content for a problem at a place; as is what the caller asked for.
func refused(p Problem, at place, as error) *ProblemError {
	p.Path, p.Entry, p.Err = at.path, at.entry, as
	return &ProblemError{Problem: p}
}

// damaged refuses content that is not what it has to be; where is where it is stored.
func damaged(d digest.Digest, reason string, where extent.List, at place, as error) *ProblemError {
	return refused(Problem{Kind: Damaged, Digest: d, Reason: reason, Chunks: chunksOf(where)}, at, as)
}

// unreadable refuses content that the file system does not hand out.
func unreadable(d digest.Digest, cause error, at place, as error) *ProblemError {
	return refused(Problem{Kind: Damaged, Digest: d, Reason: cause.Error(), Transient: IsTransient(cause)}, at, as)
}

// notThere refuses content that is in no layout.
func notThere(d digest.Digest, as error) *ProblemError {
	return refused(Problem{Kind: Incomplete, Digest: d, Reason: problem.Missing}, place{}, as)
}

// isLost reports whether err says that content is lost with a chunk of an archive, and which.
func isLost(err error) (lost Problem, ok bool) {
	var e *ProblemError
	if errors.As(err, &e) && errors.Is(err, fs.ErrNotExist) {
		return e.Problem, true
	}
	return Problem{}, false
}

// placeOf is where the content is that was refused; nowhere where no layout has it.
func placeOf(p Problem) place { return place{p.Path, p.Entry} }

// Exhausted says whether err tells of the process or the system, which is out
// of files or memory for the moment, and nothing of the content.
func IsExhausted(err error) bool {
	return volume.IsExhausted(err)
}

// Passing says whether err tells of a disk, a network or a permission, and nothing of
// the content: the same may be read well later.
func IsTransient(err error) bool {
	return volume.IsTransient(err)
}
