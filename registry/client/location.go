package client

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// errDowngrade says that a server with TLS leads to one without.
var errDowngrade = errors.New("it leads from TLS to plain HTTP")

// errAllowPrivate names the way out.
var errAllowPrivate = errors.New("allow it with --allow-private-redirects if this network is meant to have it")

// follow is where a Location or a redirect of an answer to a request of from
// leads. What the registry says of itself with the wrong scheme, as behind a proxy
// that ends TLS, or with a default port, is taken for what it means. Errors wrap
// ErrPrivate or ErrRefused.
func (c *Client) follow(from *url.URL, location string) (*url.URL, error) {
	if location == "" {
		return nil, fmt.Errorf("%w: the answer has no Location", ErrRefused)
	}
	to, err := from.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("%w: the Location is no URL", ErrRefused)
	}
	to.Fragment, to.User = "", nil
	mislabeled := to.Scheme == "http" && from.Scheme == "https" && sameName(to, from) &&
		(to.Port() == "" || to.Port() == "80" || to.Host == from.Host)
	switch {
	case mislabeled:
		to.Scheme, to.Host = from.Scheme, from.Host
	case sameHost(from, to) && to.Scheme == from.Scheme:
		to.Host = from.Host // one spelling of it
	}
	return to, c.allowed(from, to)
}

// allowed says whether a server may send us from one URL to another.
func (c *Client) allowed(from, to *url.URL) error {
	switch {
	case to.Scheme != "http" && to.Scheme != "https" || to.Host == "":
		return fmt.Errorf("%w: %s://%s is no place to go", ErrRefused, to.Scheme, to.Host)
	case to.Host == c.options.Registry || to.Host == from.Host || sameHost(from, to):
	case isPrivate(to.Host) && !c.options.AllowPrivateRedirects:
		return fmt.Errorf("%w: %s: %w", ErrPrivate, to.Host, errAllowPrivate)
	}
	if from.Scheme == "https" && to.Scheme == "http" && !c.options.AllowPrivateRedirects && !c.options.InsecureSkipVerify {
		return fmt.Errorf("%w: %s: %w", ErrRefused, to.Host, errDowngrade)
	}
	return nil
}

// SameHost reports whether a login for the server at from may be shown at to: the same
// name, port and scheme, with a default port written out or not. The one step between
// schemes that counts as the same host leads from plain HTTP to TLS, both at their
// default ports.
func SameHost(from, to *url.URL) bool { return sameHost(from, to) }

func sameHost(from, to *url.URL) bool {
	if !sameName(from, to) {
		return false
	}
	if from.Scheme == to.Scheme {
		return port(from) == port(to)
	}
	return from.Scheme == "http" && to.Scheme == "https" && port(from) == "80" && port(to) == "443"
}

func sameName(a, b *url.URL) bool { return strings.EqualFold(a.Hostname(), b.Hostname()) }

// port is the port of a URL, also where it is the default one of the scheme.
func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}

// defaultPort is what a registry's host may end in without being another host.
func defaultPort(plainHTTP bool) string {
	if plainHTTP {
		return ":80"
	}
	return ":443"
}
