package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// lostBlob returns the problem of a blob that cannot be served because a chunk of the archive is missing,
// cut short or damaged. again contains the chunks to copy again: either the first missing chunks, or
// suspects, with the most likely one first.
func (s *seams) lostBlob(kind problem.Kind, reason string, again []string) problem.Problem {
	p := problem.Problem{Kind: kind, Reason: reason, Chunks: again, Suspects: !s.areMissing(again), Err: fs.ErrNotExist}
	if len(again) > 0 {
		chunks := p.Chunk() // all of them
		if p.Suspects {
			chunks = strings.Join(again, " or ")
		}
		p.Reason = fmt.Sprintf("%s: copy %s again", reason, chunks)
	}
	return p
}

func unreadable(kind problem.Kind, name string, err error) problem.Problem {
	return problem.Problem{Kind: kind, Path: name, Reason: err.Error(), Err: err, Transient: IsTransient(err)}
}

// IsExhausted reports whether err means that open files or memory have run out for the moment, that a file
// has a lease, or that a bucket cannot be reached. So the content need not be damaged or missing.
func IsExhausted(err error) bool {
	return errors.Is(err, bucket.ErrUnreachable) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) ||
		errors.Is(err, syscall.EAGAIN) // another program has a lease on the file and will release it soon
}

// IsTransient reports whether err comes from a disk, a network or a permission. Such an error does
// not mean that the content is damaged or missing.
func IsTransient(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ESTALE) || errors.Is(err, syscall.ETIMEDOUT) ||
		errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.EHOSTDOWN) || errors.Is(err, fs.ErrPermission)
}

// errLink is the reason for not following a link.
var errLink = errors.New("a link that leads out of the source or nowhere (links must be relative)")

// linkError adds errLink to err if name is a link.
func linkError(root *os.Root, name string, err error) error {
	if info, lerr := root.Lstat(name); lerr != nil || info.Mode()&fs.ModeSymlink == 0 {
		return err
	}
	return fmt.Errorf("%w: %w", errLink, err)
}
