package layoutstore

import (
	"errors"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Errors of a lookup. Test with errors.Is.
var (
	ErrNameInvalid       = errors.New("invalid repository name")
	ErrRepositoryUnknown = errors.New("repository unknown")
	ErrManifestUnknown   = errors.New("manifest unknown")
	ErrBlobUnknown       = errors.New("blob unknown")
	// ErrStale says that a file changed between being found and being opened.
	ErrStale = extent.ErrStale
)

// refuse refuses content for a problem at a place; the error wraps as.
func refuse(p Problem, at place, as error) *ProblemError {
	p.Path, p.Entry, p.Err = at.path, at.entry, as
	return &ProblemError{Problem: p}
}

// refuseDamaged refuses damaged content, which is stored at where.
func refuseDamaged(d digest.Digest, reason string, where extent.List, at place, as error) *ProblemError {
	return refuse(Problem{Kind: Damaged, Digest: d, Reason: reason, Chunks: chunksOf(where)}, at, as)
}

// refuseUnreadable refuses content that the file system cannot read.
func refuseUnreadable(d digest.Digest, cause error, at place, as error) *ProblemError {
	return refuse(Problem{Kind: Damaged, Digest: d, Reason: cause.Error(), Transient: IsTransient(cause)}, at, as)
}

// refuseMissing refuses content that is in no layout.
func refuseMissing(d digest.Digest, as error) *ProblemError {
	return refuse(Problem{Kind: Incomplete, Digest: d, Reason: problem.Missing}, place{}, as)
}

// asLostChunk returns the problem in err if content is lost with a chunk of an archive.
func asLostChunk(err error) (lost Problem, ok bool) {
	var e *ProblemError
	if errors.As(err, &e) && errors.Is(err, fs.ErrNotExist) {
		return e.Problem, true
	}
	return Problem{}, false
}

// placeOf returns the place of refused content; it is zero if no layout has it.
func placeOf(p Problem) place { return place{p.Path, p.Entry} }

// IsExhausted reports whether err means that the process or the system has run out of open
// files or memory for the moment. It says nothing about the content.
func IsExhausted(err error) bool {
	return volume.IsExhausted(err)
}

// IsTransient reports whether err is about a disk, a network or a permission, and not about
// the content: a later read may succeed.
func IsTransient(err error) bool {
	return volume.IsTransient(err)
}
