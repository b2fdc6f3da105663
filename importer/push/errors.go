package push

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Side is the side that is at fault.
type Side string

// The tree that is pushed, or the registry.
const (
	SideTree     Side = "tree"
	SideUpstream Side = "upstream"
)

// Error is the error of a failed push.
type Error struct {
	Op         string // the operation, such as "upload blob"
	Side       Side
	Repository string // in the registry
	Digest     digest.Digest
	Err        error
}

func (e *Error) Error() string {
	if e.Side == SideTree {
		return fmt.Sprintf("%s %s@%s: in the source: %v", e.Op, e.Repository, e.Digest, e.Err)
	}
	return e.Err.Error() // a client.Error already names the operation and the repository
}

func (e *Error) Unwrap() error { return e.Err }

// withSide wraps err with the side that is at fault.
func withSide(op, repository string, d digest.Digest, err error) error {
	if err == nil {
		return nil
	}
	var local *client.LocalError
	if errors.As(err, &local) {
		return &Error{op, SideTree, repository, d, local.Err}
	}
	var remote *client.Error
	if errors.As(err, &remote) {
		return &Error{op, SideUpstream, repository, d, err}
	}
	return err // the context's
}
