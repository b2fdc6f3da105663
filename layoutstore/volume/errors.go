package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
)

// LostError says that a blob is not served, or not found, because a chunk of the
// archive is missing, cut short or damaged. It wraps fs.ErrNotExist.
type LostError struct {
	Digest digest.Digest
	Kind   Kind
	Reason string
	In     []string // the chunks to copy again, as "chunk 0003", the most likely one first
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%s: %s: %v", e.Digest, e.Advice(), fs.ErrNotExist)
}

// notThere is the reason of a blob of which a part at least is missing.
const notThere = "not there"

// Advice is the reason, and what to do about it.
func (e *LostError) Advice() string {
	if len(e.In) == 0 {
		return e.Reason
	}
	return fmt.Sprintf("%s: copy %s again", e.Reason, strings.Join(e.In, " or "))
}

func (e *LostError) Unwrap() error { return fs.ErrNotExist }

// Exhausted says whether err tells of the process or the system, which is out of
// files or memory for the moment, and nothing of the content.
func Exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) ||
		errors.Is(err, syscall.EAGAIN) // another program is about to give the file back (a lease)
}

// Passing says whether err tells of a disk, a network or a permission, and not of
// what lies there: what was seen before is there still.
func Passing(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ESTALE) || errors.Is(err, syscall.ETIMEDOUT) ||
		errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.EHOSTDOWN) || errors.Is(err, fs.ErrPermission)
}

// errLink says why a link is not followed.
var errLink = errors.New("a link that leads out of the source or nowhere (links must be relative)")

// linkError says of an error that was met at name that a link stands there, if one does.
func linkError(root *os.Root, name string, err error) error {
	if info, lerr := root.Lstat(name); lerr != nil || info.Mode()&fs.ModeSymlink == 0 {
		return err
	}
	return fmt.Errorf("%w: %w", errLink, err)
}
