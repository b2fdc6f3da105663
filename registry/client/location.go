package client

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// errDowngrade means that a server redirects a client from TLS to plain HTTP.
var errDowngrade = errors.New("the server redirects from TLS to plain HTTP")

// errAllowPrivate names the flag that allows private addresses.
var errAllowPrivate = errors.New("if you trust this address, allow it with --allow-private-redirects")

// follow resolves a Location header. from is the URL that sent the header. A registry behind a proxy
// that terminates TLS may write its own URL with the wrong scheme or with a default port; follow
// corrects both. Errors wrap ErrPrivate or ErrRefused.
func (c *Client) follow(from *url.URL, location string) (*url.URL, error) {
	if location == "" {
		return nil, fmt.Errorf("%w: the answer has no Location", ErrRefused)
	}
	to, err := from.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("%w: the Location is not a valid URL", ErrRefused)
	}
	to.Fragment, to.User = "", nil
	mislabeled := to.Scheme == "http" && from.Scheme == "https" && sameName(to, from) &&
		(to.Port() == "" || to.Port() == "80" || to.Host == from.Host)
	switch {
	case mislabeled:
		to.Scheme, to.Host = from.Scheme, from.Host
	case SameHost(from, to) && to.Scheme == from.Scheme:
		to.Host = from.Host // use the same spelling of the host as in from
	}
	return to, c.checkRedirect(from, to)
}

// checkRedirect returns an error if an answer from the first URL must not lead the client to the second.
func (c *Client) checkRedirect(from, to *url.URL) error {
	switch {
	case to.Scheme != "http" && to.Scheme != "https" || to.Host == "":
		return fmt.Errorf("%w: unsupported URL %s://%s", ErrRefused, to.Scheme, to.Host)
	case to.Host == c.options.Registry || to.Host == from.Host || SameHost(from, to):
	case isPrivate(to.Host) && !c.options.AllowPrivateRedirects:
		return fmt.Errorf("%w: %s: %w", ErrPrivate, to.Host, errAllowPrivate)
	}
	if from.Scheme == "https" && to.Scheme == "http" && !c.options.AllowPrivateRedirects && !c.options.InsecureSkipVerify {
		return fmt.Errorf("%w: %s: %w", ErrRefused, to.Host, errDowngrade)
	}
	return nil
}

// SameHost reports whether a login for the first URL's server may also be sent to the second URL's.
// Host name, port and scheme must be the same, but default ports may be omitted. The only allowed
// change of scheme is from plain HTTP to TLS, if both use their default ports.
func SameHost(from, to *url.URL) bool {
	if !sameName(from, to) {
		return false
	}
	if from.Scheme == to.Scheme {
		return port(from) == port(to)
	}
	return from.Scheme == "http" && to.Scheme == "https" && port(from) == "80" && port(to) == "443"
}

func sameName(a, b *url.URL) bool { return strings.EqualFold(a.Hostname(), b.Hostname()) }

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}

func defaultPort(plainHTTP bool) string {
	if plainHTTP {
		return ":80"
	}
	return ":443"
}
