package client

import (
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
	DefaultSilence = time.Minute
	// DefaultStreamFrom is 16 MiB.
	DefaultStreamFrom = 16 << 20
)

// Options say which registry is spoken to, and how.
type Options struct {
	Registry string // host, with the port if it is not the scheme's; see Reference

	PlainHTTP          bool
	InsecureSkipVerify bool   // any certificate will do
	CAFile             string // PEM, beside the authorities of the system
	CertFile, KeyFile  string // of the client, PEM
	// Proxy is the proxy of a request; http.ProxyFromEnvironment if nil.
	Proxy func(*http.Request) (*url.URL, error)

	Credential Credential // for the registry; found by Keychain if empty
	Keychain   *Keychain  // nil is none

	// AllowPrivateRedirects allows realms, redirects and Locations at private
	// addresses other than the registry's own. A realm is shown the credential; redirects
	// and Locations never are.
	AllowPrivateRedirects bool

	Jobs    int           // requests at once, DefaultJobs if 0
	Retries int           // of one request, beside the first try; DefaultRetries if 0, none if negative. A registry that cannot be connected to is waited for by time
	Silence time.Duration // after which a request that does not move is given up; DefaultSilence if 0
	// FirstPause is the one before the first retry; half a second if 0. Each further one
	// is twice as long, and a part of each is left to chance.
	FirstPause time.Duration

	// Clock is for pauses between tries; the machine's if nil.
	Clock Clock

	// StreamFrom is the size in bytes from which on a blob is uploaded so that it can be
	// resumed; DefaultStreamFrom if 0.
	StreamFrom int64

	// Push has tokens that allow to push asked for from the start.
	Push bool

	UserAgent string
	// Retrying is told of each failure that is tried again, if not nil. It may be
	// called from several goroutines.
	Retrying func(err error, pause time.Duration)
	// Noticed is told once of each thing that the registry keeps from being done as it
	// should be and that does not end the work, if not nil.
	Noticed func(err error)
}

// Client speaks to one registry. Its methods may be called from several goroutines.
type Client struct {
	options   Options
	given     string // Options.Registry as it was given; that of options has no default port
	http      *http.Client
	transport *http.Transport
	limiter   *limiter

	contacting chan struct{} // holds one token: who has it makes the first contact
	base       atomic.Pointer[url.URL]
	reached    atomic.Bool // something answered once

	referrersAPI  atomic.Bool  // the registry has listed referrers
	referrersFail atomic.Bool  // it never has, and failed at it
	noticed       atomic.Bool  // and that was told
	awayTold      atomic.Int64 // when it was told last that no connection is to be had
	noExpect      atomic.Bool  // something in front of the registry does not know Expect
	noPatch       atomic.Bool  // the registry refuses uploads in parts
	chunk         atomic.Int64 // bytes that it takes at most in one; 0 is any
	mountsRefused atomic.Int32 // far below 0 once one was granted

	auth authorizer
	stats
}

// stats count what passed over the wire.
type stats struct {
	requests, sent, received, retries atomic.Int64
}

// Stats is what a client has done so far.
type Stats struct {
	Requests int64 `json:"requests"` // redirects, tokens and retries too
	Sent     int64 `json:"sent"`     // bytes of bodies
	Received int64 `json:"received"` // bytes of bodies
	Retries  int64 `json:"retries"`
	Jobs     int   `json:"jobs"` // how many run at once at present
}

// Stats is what the client has done so far.
func (c *Client) Stats() Stats {
	return Stats{c.requests.Load(), c.sent.Load(), c.received.Load(), c.retries.Load(), c.limiter.bound()}
}

// New makes a client. It speaks to nobody yet. Errors: certificates that cannot be read.
func New(o Options) (*Client, error) {
	if o.Registry == "" {
		return nil, fmt.Errorf("no registry given: %w", ErrReference)
	}
	if o.Jobs == 0 {
		o.Jobs = DefaultJobs
	}
	if o.Jobs < 0 {
		return nil, fmt.Errorf("%d jobs: at least one is needed", o.Jobs)
	}
	given := o.Registry
	o.Registry = strings.TrimSuffix(given, defaultPort(o.PlainHTTP))
	if o.Proxy == nil {
		o.Proxy = http.ProxyFromEnvironment
	}
	if o.Retries == 0 {
		o.Retries = DefaultRetries
	}
	if o.Clock == nil {
		o.Clock = clock{}
	}
	if o.FirstPause == 0 {
		o.FirstPause = firstPause
	}
	if o.StreamFrom == 0 {
		o.StreamFrom = DefaultStreamFrom
	}
	if o.Silence == 0 {
		o.Silence = DefaultSilence
	}
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
		// Where a redirect may lead, and what it may be told, is decided in send.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close closes the connections that no request uses.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Transport is what the client's requests go through, for one that is to be neither
// tried again nor led elsewhere. Its connections are the client's: see [Client.Close].
func (c *Client) Transport() *http.Transport { return c.transport }

// Registry is the host that the client was made for, without the default port.
func (c *Client) Registry() string { return c.options.Registry }

// Ping makes the first contact with the registry (GET /v2/), and learns how to log in
// and whether it speaks TLS. The other methods do it when it was not done. A registry
// on this machine that speaks plain HTTP is spoken to so; any other one that does is
// an error. Errors: *Error.
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

// contact asks /v2/ by a scheme and remembers the answer.
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
	if home && resp.Request.URL.Scheme != scheme { // it led from plain HTTP to TLS
		base.Scheme, base.Host = resp.Request.URL.Scheme, resp.Request.URL.Host
	}
	c.base.Store(base)
	return nil
}
