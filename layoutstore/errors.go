package layoutstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
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

// CorruptError says that content is named by the tree but cannot be served:
// missing, or not what its descriptor says. It wraps ErrManifestUnknown or
// ErrBlobUnknown.
type CorruptError struct {
	Digest digest.Digest
	Kind   Kind // Damaged, Incomplete or Limited
	Reason string
	Chunk  string // to copy again, as "chunk 0003", if it is known
	// Passing is set where it could not be read, which may be so for the moment only.
	Passing bool
	place   place // that has it wrong; nowhere where none has it
	err     error
}

func corruption(d digest.Digest, kind Kind, reason string, at place, as error) *CorruptError {
	return &CorruptError{Digest: d, Kind: kind, Reason: reason, place: at, err: as}
}

// in notes the chunks that the content is stored in.
func (e *CorruptError) in(where extent.List) *CorruptError {
	e.Chunk = chunkText(where)
	return e
}

// corruptionOf is content that is lost with a chunk.
func corruptionOf(lost *LostError, at place, as error) *CorruptError {
	e := corruption(lost.Digest, lost.Kind, lost.Advice(), at, as)
	if len(lost.In) > 0 {
		e.Chunk = lost.In[0]
	}
	return e
}

// unreadable is content that the file system does not hand out.
func unreadable(d digest.Digest, cause error, at place, as error) *CorruptError {
	return &CorruptError{Digest: d, Kind: Damaged, Reason: cause.Error(), Passing: Passing(cause), place: at, err: as}
}

func (e *CorruptError) Error() string {
	if e.place.entry == "" {
		return fmt.Sprintf("%v: %s: %s", e.err, e.Digest, e.Reason)
	}
	reason := e.Reason
	if e.Chunk != "" && !strings.Contains(reason, e.Chunk) {
		reason += ": copy " + e.Chunk + " again"
	}
	// Clients read this: they need the archive's name, and not where the server has it.
	return fmt.Sprintf("%v: %s: %s: %s", e.err, e.Digest, filepath.Base(e.place.path), reason)
}

func (e *CorruptError) Unwrap() error { return e.err }

// Where is the file that has it wrong, and in an archive the entry. Both are empty
// where no layout has it at all.
func (e *CorruptError) Where() (path, entry string) { return e.place.path, e.place.entry }

// LostError says that a blob is lost with a chunk that is missing or cut short.
type LostError = volume.LostError

// Exhausted says whether err tells of the process or the system, which is out
// of files or memory for the moment, and nothing of the content.
func Exhausted(err error) bool {
	return volume.Exhausted(err)
}

// Passing says whether err tells of a disk, a network or a permission, and nothing of
// the content: the same may be read well later.
func Passing(err error) bool {
	return volume.Passing(err)
}
