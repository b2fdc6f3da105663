package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Default values of [Options].
const (
	DefaultJobs    = 4
	DefaultRetries = 5
)

// Options describes the registry and how to talk to it.
type Options struct {
	// Registry is the host, with its port if that is not the scheme's default port; see Reference.
	Registry string

	PlainHTTP          bool
	InsecureSkipVerify bool
	// CAFile is a PEM file of authorities to trust in addition to the system's.
	CAFile string
	// CertFile and KeyFile are PEM files with the client's certificate and its key.
	CertFile, KeyFile string
	// Proxy returns the proxy for a request. nil means http.ProxyFromEnvironment.
	Proxy func(*http.Request) (*url.URL, error)

	// Credential is the login for the registry. If it is empty, the client looks in Keychain.
	Credential Credential
	// Keychain finds stored logins. nil means that no logins are stored.
	Keychain *Keychain

	// AllowPrivateRedirects allows token servers, redirects and Locations at private addresses other
	// than the registry's own. Token servers receive the credential; redirects and Locations never do.
	AllowPrivateRedirects bool

	// Jobs is how many requests may run at once. 0 means DefaultJobs.
	Jobs int
	// Retries is how often a failed request is retried. 0 means DefaultRetries; a negative number
	// means never. Attempts to connect are limited by time instead.
	Retries int
	// Silence is how long a request may make no progress before it fails. 0 means one minute.
	Silence time.Duration
	// FirstPause is the longest pause before the first retry. 0 means half a second. Pauses double up to
	// 30 seconds; each is random, from half of that to all of it. A server may ask for a longer pause.
	FirstPause time.Duration

	// Clock measures the pauses between tries. nil means the machine's clock.
	Clock Clock

	// StreamFrom is the size, in bytes, from which a blob upload can be resumed. 0 means 16 MiB.
	StreamFrom int64

	// Push makes the client request tokens that allow pushing, from its first request on.
	Push bool

	UserAgent string
	// Retrying is called for each failed try that is followed by a retry. It may be called from
	// several goroutines. It may be nil.
	Retrying func(err error, pause time.Duration)
	// Noticed is called once for each limitation of the registry that does not stop the work. It
	// may be nil.
	Noticed func(err error)
}

// Client talks to one registry. Its methods may be called from several goroutines.
type Client struct {
	options Options
	// given is Options.Registry as the caller wrote it; options.Registry has no default port.
	given     string
	http      *http.Client
	transport *http.Transport
	limiter   *limiter

	// contacting has room for one value. The goroutine that puts one in makes the first contact.
	contacting chan struct{}
	base       atomic.Pointer[url.URL]
	// reached is set once the client received any answer.
	reached atomic.Bool

	// referrersAPI is set once the registry has listed referrers.
	referrersAPI atomic.Bool
	// referrersFail is set if listing referrers fails and has never worked.
	referrersFail atomic.Bool
	// noticed is set once Noticed was called because the registry does not list referrers.
	noticed atomic.Bool
	// awayReported is when a failing connection was last reported, in nanoseconds since 1970.
	awayReported atomic.Int64
	// noExpect is set if a proxy in front of the registry does not support the Expect header.
	noExpect atomic.Bool
	// noPatch is set if the registry refuses chunked uploads.
	noPatch atomic.Bool
	// patched is set once the registry has accepted a chunk.
	patched atomic.Bool
	// chunk is the largest chunk, in bytes, that the registry accepts. 0 means no limit.
	chunk atomic.Int64
	// mountsRefused is the number of refused mounts. When a mount is granted, mountsRefused is set
	// far below 0, so that it never reaches mountRefusals.
	mountsRefused atomic.Int32

	auth  authorizer
	stats struct{ requests, sent, received, retries atomic.Int64 } // see Stats
}

// Stats contains a client's totals so far.
type Stats struct {
	// Requests includes redirects, requests for tokens, and retries.
	Requests int64 `json:"requests"`
	// Sent is the number of bytes sent in bodies.
	Sent int64 `json:"sent"`
	// Received is the number of bytes received in bodies.
	Received int64 `json:"received"`
	Retries  int64 `json:"retries"`
	// Jobs is the limiter's current bound: how many requests may run at once.
	Jobs int `json:"jobs"`
}

// Stats returns the client's totals so far.
func (c *Client) Stats() Stats {
	return Stats{c.stats.requests.Load(), c.stats.sent.Load(), c.stats.received.Load(), c.stats.retries.Load(), c.limiter.bound()}
}

// New makes a client, and sends nothing yet. It returns an error if an option is invalid or a
// certificate cannot be read.
func New(o Options) (*Client, error) {
	if o.Registry == "" {
		return nil, fmt.Errorf("no registry given: %w", ErrReference)
	}
	if o.Jobs < 0 {
		return nil, fmt.Errorf("invalid number of jobs %d: at least 1 is needed", o.Jobs)
	}
	given := o.Registry
	o.Registry = strings.TrimSuffix(given, defaultPort(o.PlainHTTP))
	if o.Proxy == nil {
		o.Proxy = http.ProxyFromEnvironment
	}
	if o.Clock == nil {
		o.Clock = clock{}
	}
	if o.Retrying == nil {
		o.Retrying = func(error, time.Duration) {}
	}
	if o.Noticed == nil {
		o.Noticed = func(error) {}
	}
	o.Jobs, o.Retries = cmp.Or(o.Jobs, DefaultJobs), cmp.Or(o.Retries, DefaultRetries)
	o.Silence, o.FirstPause = cmp.Or(o.Silence, time.Minute), cmp.Or(o.FirstPause, 500*time.Millisecond)
	o.StreamFrom = cmp.Or(o.StreamFrom, 16<<20)
	transport, err := o.newTransport()
	if err != nil {
		return nil, err
	}
	c := &Client{
		options: o, given: given, transport: transport, limiter: newLimiter(o.Jobs),
		contacting: make(chan struct{}, 1),
		auth:       authorizer{tokens: map[tokenKey]*tokenSlot{}},
	}
	c.http = &http.Client{
		Transport: transport,
		// The client's method send checks and follows redirects, and decides which credentials they get.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close closes the connections that no request uses.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Transport returns the transport that the client uses, for requests that need neither retries
// nor redirects. Its connections belong to the client: see [Client.Close].
func (c *Client) Transport() *http.Transport { return c.transport }

// Registry returns the host that the client was made for, without the default port.
func (c *Client) Registry() string { return c.options.Registry }

// Ping makes the first contact with the registry (GET /v2/). It learns how to log in and whether
// the registry speaks TLS. The other methods call it if needed. If Options.PlainHTTP is not set,
// Ping falls back to plain HTTP only for a registry on this machine. The error is an *Error or
// the context's.
func (c *Client) Ping(ctx context.Context) error {
	select {
	case c.contacting <- struct{}{}:
		defer func() { <-c.contacting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.base.Load() != nil {
		return nil
	}
	if c.options.PlainHTTP {
		return c.contact(ctx, "http")
	}
	err := c.contact(ctx, "https")
	if (errors.Is(err, ErrPlainHTTP) || errors.Is(err, ErrNotTLS)) && isLoopback(c.options.Registry) {
		return c.contact(ctx, "http")
	}
	return err
}

// contact requests /v2/ with the given scheme, and remembers what it learns about the registry.
func (c *Client) contact(ctx context.Context, scheme string) error {
	base := &url.URL{Scheme: scheme, Host: c.options.Registry, Path: "/v2/"}
	resp, err := c.do(ctx, &call{
		op: "ping", method: http.MethodGet, url: base,
		want: []int{http.StatusOK, http.StatusUnauthorized}, anonymous: true,
	})
	if err != nil {
		return err
	}
	resp.Body.Close()
	home := resp.Body.(*receiving).home
	if resp.StatusCode == http.StatusUnauthorized {
		ch, ok := challengeOf(resp.Header)
		if !ok || !home {
			e := &Error{Op: "ping", Host: resp.Request.URL.Host, Side: SideRegistry, Status: resp.StatusCode, Server: resp.Header.Get("Server"),
				Cause: ErrUnauthorized, Err: errNoWay}
			if !home {
				e.Err = c.errElsewhere()
			}
			return e
		}
		c.auth.learn(ch)
	}
	if home && resp.Request.URL.Scheme != scheme { // the registry redirected the client from plain HTTP to TLS
		base.Scheme, base.Host = resp.Request.URL.Scheme, resp.Request.URL.Host
	}
	c.base.Store(base)
	return nil
}
