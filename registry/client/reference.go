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

// Reference is a path in a registry, as users name it: REGISTRY/PATH.
type Reference struct {
	Registry string // host, with the port where one was given
	Path     string // below which repositories lie; empty is the bare registry
}

// ErrReference says that something is no REGISTRY/PATH.
var ErrReference = errors.New("not a REGISTRY/PATH, as registry.example:5000/deckhouse/ee")

// ParseReference reads REGISTRY or REGISTRY/PATH. The registry is always there: a
// first segment that holds neither "." nor ":" and is not localhost is a path, and
// an error. So are a scheme, a tag and a digest. Errors wrap ErrReference.
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
		return Reference{}, fmt.Errorf("%q: %q is no registry: %w", s, host, ErrReference)
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

// Repository is the name of the repository at path below the reference; "." and
// "" are the reference itself, which is "" where it is the bare registry.
func (r Reference) Repository(path string) string {
	switch {
	case path == "" || path == ".":
		return r.Path
	case r.Path == "":
		return path
	}
	return r.Path + "/" + path
}

// isLoopback says whether host, with or without a port, is this machine.
func isLoopback(host string) bool {
	host = hostname(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// isPrivate says whether host is an address that is reached in a closed network or
// on this machine only. A name is not looked up.
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

// hostname is host without its port, and without the brackets of IPv6.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.Trim(host, "[]")
}
