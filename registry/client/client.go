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

// Defaults of [Options].
const (
	DefaultJobs    = 4
	DefaultRetries = 5
)

// Options describe the registry and how to talk to it.
type Options struct {
	Registry string // host, with a port other than the scheme's default; see Reference

	PlainHTTP          bool
	InsecureSkipVerify bool   // accept any certificate
	CAFile             string // PEM, in addition to the system's authorities
	CertFile, KeyFile  string // of the client, PEM
	// Proxy chooses the proxy of a request; http.ProxyFromEnvironment if nil.
	Proxy func(*http.Request) (*url.URL, error)

	Credential Credential // for the registry; looked up in Keychain if empty
	Keychain   *Keychain  // nil: no keychain

	// AllowPrivateRedirects allows token realms, redirects and Locations at private
	// addresses other than the registry's own. A realm receives the credential; redirects
	// and Locations never do.
	AllowPrivateRedirects bool

	Jobs    int           // requests at once, DefaultJobs if 0
	Retries int           // of one request, after the first try; DefaultRetries if 0, none if negative. Attempts to connect are limited by time instead
	Silence time.Duration // a request fails after this long without progress; one minute if 0
	// FirstPause is the pause before the first retry; half a second if 0. Each further
	// pause is twice as long, with random jitter.
	FirstPause time.Duration

	// Clock measures the pauses between tries; the machine's clock if nil.
	Clock Clock

	// StreamFrom is the size in bytes from which blob uploads can be resumed; 16 MiB if 0.
	StreamFrom int64

	// Push requests tokens that allow pushing from the start.
	Push bool

	UserAgent string
	// Retrying, if not nil, is called for each failure that is retried. It may be called
	// from several goroutines.
	Retrying func(err error, pause time.Duration)
	// Noticed, if not nil, is called once for each limitation of the registry that does
	// not stop the work.
	Noticed func(err error)
}

// Client talks to one registry. Its methods may be called from several goroutines.
type Client struct {
	options   Options
	given     string // Options.Registry as given; options.Registry has no default port
	http      *http.Client
	transport *http.Transport
	limiter   *limiter

	contacting chan struct{} // holds one token: its holder makes the first contact
	base       atomic.Pointer[url.URL]
	reached    atomic.Bool // whether anything has answered

	referrersAPI  atomic.Bool  // the registry has listed referrers
	referrersFail atomic.Bool  // it has never listed any, and fails
	noticed       atomic.Bool  // Noticed was called because of that
	awayReported  atomic.Int64 // when a failing connection was last reported
	noExpect      atomic.Bool  // a proxy in front of the registry does not support Expect
	noPatch       atomic.Bool  // the registry refuses chunked uploads
	chunk         atomic.Int64 // the most bytes that the registry accepts in one chunk; 0: no limit
	mountsRefused atomic.Int32 // number of refused mounts; far below 0 once one was granted

	auth  authorizer
	stats struct{ requests, sent, received, retries atomic.Int64 } // see Stats
}

// Stats are the totals of a client so far.
type Stats struct {
	Requests int64 `json:"requests"` // redirects, tokens and retries too
	Sent     int64 `json:"sent"`     // bytes of bodies
	Received int64 `json:"received"` // bytes of bodies
	Retries  int64 `json:"retries"`
	Jobs     int   `json:"jobs"` // how many run at once now
}

// Stats returns the totals so far.
func (c *Client) Stats() Stats {
	return Stats{c.stats.requests.Load(), c.stats.sent.Load(), c.stats.received.Load(), c.stats.retries.Load(), c.limiter.bound()}
}

// New makes a client. It sends nothing yet. Errors: invalid options, and certificates that
// cannot be read.
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
		// send checks and follows redirects, and decides which credentials they get.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close closes the connections that no request uses.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Transport returns the transport of the client's requests, for requests that need neither
// retries nor redirects. Its connections are the client's: see [Client.Close].
func (c *Client) Transport() *http.Transport { return c.transport }

// Registry returns the host that the client was made for, without the default port.
func (c *Client) Registry() string { return c.options.Registry }

// Ping makes the first contact with the registry (GET /v2/), and learns how to log in and
// whether the registry speaks TLS. The other methods call it if needed. Unless
// Options.PlainHTTP is set, plain HTTP is used only for a registry on this machine, and is
// an error for any other. Errors: *Error, and the context's.
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

// contact requests /v2/ with a scheme and remembers the answer.
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
	if home && resp.Request.URL.Scheme != scheme { // redirected from plain HTTP to TLS
		base.Scheme, base.Host = resp.Request.URL.Scheme, resp.Request.URL.Host
	}
	c.base.Store(base)
	return nil
}
