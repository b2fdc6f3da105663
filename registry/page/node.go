package page

import (
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"

	"github.com/layoutproxy/layoutproxy/registry/containerd"
)

// node describes how to configure a node to pull from this server.
type node struct {
	// Upstream is the registry in image references.
	Upstream string
	// Guessed means that Upstream is a placeholder, because no source contains a registry's name.
	Guessed bool
	// Address is HOST:PORT of the registry API.
	Address  string
	URL      string
	Loopback bool // true if only this machine can reach the registry
	TLS      bool
	Login    bool
	// File is the path of hosts.toml.
	File string
	// Hosts is the content of hosts.toml.
	Hosts string
}

// unknownUpstream is shown if the registry of the images is unknown.
const unknownUpstream = "registry.example"

func (p *Page) node(req *http.Request, s Status) node {
	registry := p.options.Registry
	n := node{Upstream: s.Upstream, TLS: registry.TLS, Login: registry.Login}
	if !upstreamName.MatchString(n.Upstream) { // the name comes from a bundle and becomes part of commands, so it must be safe
		n.Upstream, n.Guessed = unknownUpstream, true
	}
	n.Address, n.Loopback = addressFor(registry.Address, req.Host)
	n.URL = "http://" + n.Address
	if registry.TLS {
		n.URL = "https://" + n.Address
	}
	mirror, err := containerd.NewMirror(containerd.MirrorOptions{Host: n.Upstream, Endpoint: n.URL})
	if err != nil {
		n.Hosts = "# " + err.Error()
		return n
	}
	n.File, n.Hosts = mirror.File(containerd.DefaultDir), mirror.Text(containerd.DefaultDir)
	return n
}

// hostName matches those Host headers that are safe in a command.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

// upstreamName matches a host name with or without a port.
var upstreamName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)

// addressFor returns the registry's address for a node. host is the Host header of the browser's
// request. If the registry listens on all addresses, the returned address contains the host of that
// header. loopback reports whether only this machine can reach the address.
func addressFor(listen, host string) (address string, loopback bool) {
	own, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen, false
	}
	ip, err := netip.ParseAddr(own)
	if err == nil && !ip.IsUnspecified() {
		return listen, ip.IsLoopback()
	}
	asked := host
	if name, _, err := net.SplitHostPort(host); err == nil {
		asked = name
	}
	asked = strings.Trim(asked, "[]")
	if _, err := netip.ParseAddr(asked); err != nil && !hostName.MatchString(asked) {
		asked = "127.0.0.1"
	}
	return net.JoinHostPort(asked, port), false
}
