package client

import (
	"errors"
	"fmt"
	"net/url"
)

// errDowngrade says that a server with TLS leads to one without.
var errDowngrade = errors.New("it leads from TLS to plain HTTP")

// errAllowPrivate names the way out.
var errAllowPrivate = errors.New("allow it with --allow-private-redirects if this network is meant to have it")

// follow is where a Location, a redirect or a Link of an answer to a request of from
// leads. What the registry says of itself with the wrong scheme, as behind a proxy
// that ends TLS, is taken for what it means. Errors wrap ErrPrivate or ErrRefused.
func (c *Client) follow(from *url.URL, location string) (*url.URL, error) {
	if location == "" {
		return nil, fmt.Errorf("%w: the answer has no Location", ErrRefused)
	}
	to, err := from.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("%w: the Location is no URL", ErrRefused)
	}
	to.Fragment, to.User = "", nil
	if to.Scheme == "http" && from.Scheme == "https" && hostname(to.Host) == hostname(from.Host) && (to.Port() == "" || to.Port() == "80" || to.Host == from.Host) {
		to.Scheme, to.Host = from.Scheme, from.Host
	}
	return to, c.allowed(from, to)
}

// allowed says whether a server may send us from one URL to another.
func (c *Client) allowed(from, to *url.URL) error {
	switch {
	case to.Scheme != "http" && to.Scheme != "https" || to.Host == "":
		return fmt.Errorf("%w: %s://%s is no place to go", ErrRefused, to.Scheme, to.Host)
	case to.Host == c.options.Registry || to.Host == from.Host:
	case isPrivate(to.Host) && !c.options.AllowPrivateRedirects:
		return fmt.Errorf("%w: %s: %w", ErrPrivate, to.Host, errAllowPrivate)
	}
	if from.Scheme == "https" && to.Scheme == "http" && !c.options.AllowPrivateRedirects && !c.options.InsecureSkipVerify {
		return fmt.Errorf("%w: %s: %w", ErrRefused, to.Host, errDowngrade)
	}
	return nil
}

// trusted says whether the credential that was given for the registry may be shown to host.
func (c *Client) trusted(host string) bool {
	return host == c.options.Registry || c.options.AllowPrivateRedirects && isPrivate(host)
}
