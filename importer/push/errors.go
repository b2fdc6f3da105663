package push

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Side is the side that is at fault: the tree or the registry.
type Side string

// SideTree is the tree that is pushed. SideUpstream is the registry.
const (
	SideTree     Side = "tree"
	SideUpstream Side = "upstream"
)

// Error is the error of a failed push.
type Error struct {
	Op         string // name of the operation, such as "upload blob"
	Side       Side
	Repository string // name of the repository in the registry
	Digest     digest.Digest
	Err        error
}

func (e *Error) Error() string {
	if e.Side == SideTree {
		return fmt.Sprintf("%s %s@%s: the source is at fault: %v", e.Op, e.Repository, e.Digest, e.Err)
	}
	return e.Err.Error() // a client.Error already contains the operation and the repository
}

func (e *Error) Unwrap() error { return e.Err }

// withSide wraps err in an Error that names the side at fault.
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
