package client

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// Reference names a registry, or a path in it. Users write it as REGISTRY/PATH.
type Reference struct {
	// Registry is the host, with its port if one was given.
	Registry string
	// Path is a prefix of repository names; empty for the complete registry.
	Path string
}

// ErrReference means that a string is not of the form REGISTRY/PATH.
var ErrReference = errors.New("not of the form REGISTRY/PATH, such as registry.example:5000/deckhouse/ee")

// ParseReference parses REGISTRY or REGISTRY/PATH. The registry is required: the first segment
// must contain "." or ":", or be localhost. It returns an error for a scheme, a tag or a digest.
// Errors wrap ErrReference.
func ParseReference(s string) (Reference, error) {
	if scheme, _, ok := strings.Cut(s, "://"); ok {
		return Reference{}, fmt.Errorf("%q begins with a scheme, %s: %w", s, scheme, ErrReference)
	}
	host, path, _ := strings.Cut(strings.TrimSuffix(s, "/"), "/")
	if !names.IsHost(host) {
		return Reference{}, fmt.Errorf("%q names no registry: %w", s, ErrReference)
	}
	registry, err := name.NewRegistry(host, name.StrictValidation)
	if named, illegal := reference.WithName(host + "/x"); err != nil || illegal != nil || reference.Domain(named) != host {
		return Reference{}, fmt.Errorf("%q: %q is not a registry: %w", s, host, ErrReference)
	}
	if path != "" {
		if err := names.CheckRepository(path); err != nil {
			return Reference{}, fmt.Errorf("%q: %q is not a repository name, %w: %w", s, path, err, ErrReference)
		}
	}
	return Reference{Registry: registry.RegistryStr(), Path: path}, nil
}

func (r Reference) String() string {
	if r.Path == "" {
		return r.Registry
	}
	return r.Registry + "/" + r.Path
}

// Repository returns the full name of the repository at path below the reference. For "." and "" it
// returns the path of the reference itself, which is empty for a complete registry.
func (r Reference) Repository(path string) string {
	switch {
	case path == "" || path == ".":
		return r.Path
	case r.Path == "":
		return path
	}
	return r.Path + "/" + path
}

func isLoopback(host string) bool {
	host = hostname(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// isPrivate reports whether host is an address in a private network or of this machine. It does
// not resolve host names.
func isPrivate(host string) bool {
	if isLoopback(host) {
		return true
	}
	ip, err := netip.ParseAddr(hostname(host))
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	return ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified()
}

// hostname returns host without its port, and without the brackets of an IPv6 address.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.Trim(host, "[]")
}
