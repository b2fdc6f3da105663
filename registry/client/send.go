package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

const (
	maxRedirects = 5
	// expectFrom is the size, in bytes, from which a body is sent only after the server has
	// accepted the header. So a request that the server refuses, for example with an expired token,
	// does not cost the transfer of its body.
	expectFrom = 1 << 20
)

// send sends the call and follows redirects. It does not check the status. After a redirect to
// another host, it sends no more logins.
func (c *Client) send(ctx context.Context, k *call, narrow []string) (*http.Response, error) {
	target, home := k.url, true
	for range maxRedirects {
		resp, err := c.sendTo(ctx, k, target, narrow, home)
		if err != nil || !isRedirect(resp.StatusCode, k.method) {
			return resp, err
		}
		resp.Body.(*receiving).discard()
		if target, err = c.follow(target, resp.Header.Get("Location")); err != nil {
			return nil, k.fail(SideRegistry, causeAmong(err, ErrPrivate, ErrRefused), fmt.Errorf("redirect: %w", err))
		}
		home = home && SameHost(k.url, target)
		if k.secret && !home {
			return nil, k.fail(SideRegistry, ErrRefused, fmt.Errorf("the server redirects to %s://%s: %w", target.Scheme, target.Host, ErrOtherHost))
		}
	}
	return nil, k.fail(SideRegistry, ErrRefused, fmt.Errorf("more than %d redirects", maxRedirects))
}

// isRedirect reports whether to follow an answer with this status to a request with this method.
func isRedirect(status int, method string) bool {
	switch status {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		return method == http.MethodGet || method == http.MethodHead
	}
	return false
}

// sendTo sends the call to one URL. home is true if all requests of the call so far, including this
// one, have the host of the call's URL.
func (c *Client) sendTo(ctx context.Context, k *call, target *url.URL, narrow []string, home bool) (*http.Response, error) {
	watched, s := newStallTimer(ctx, c.options.Silence+k.patience)
	req, body, err := c.request(watched, k, target, s)
	switch {
	case err != nil || !home:
	case k.basic != nil:
		req.SetBasicAuth(k.basic.Username, k.basic.Password)
	case !k.anonymous && c.isRegistry(k.url):
		err = c.authorize(ctx, req, k, narrow) // this may request a token first; the stall timer must not cancel that request
	}
	if err != nil {
		s.end()
		return nil, err
	}
	s.restart(k.patience)
	c.stats.requests.Add(1)
	resp, err := c.http.Do(req)
	if err != nil {
		cause := context.Cause(watched)
		s.end()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if failed := body.failed(); failed != nil {
			return nil, failed
		}
		if errors.Is(cause, ErrStalled) {
			err = ErrStalled
		}
		return nil, c.broken(k, target, err)
	}
	c.reached.Store(true)
	s.pause()
	resp.Body = &receiving{
		body: resp.Body, home: home, stall: s,
		got: func(n int) { c.stats.received.Add(int64(n)) },
		done: func() {
			if !k.unbounded {
				c.limiter.release()
			}
		},
	}
	return resp, nil
}

// request builds an HTTP request for a call. The *sending is nil if the call has no body.
func (c *Client) request(ctx context.Context, k *call, target *url.URL, s *stallTimer) (*http.Request, *sending, error) {
	req, err := http.NewRequestWithContext(ctx, k.method, target.String(), nil)
	if err != nil {
		return nil, nil, k.fail(SideLocal, ErrRefused, errors.New("malformed request"))
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", c.options.UserAgent)
	if k.body == nil {
		return req, nil, nil
	}
	r, err := k.body()
	if err != nil {
		return nil, nil, &LocalError{err}
	}
	body := &sending{body: r, stall: s, patience: k.patience, sent: func(n int) { c.stats.sent.Add(int64(n)) }}
	req.ContentLength, req.Body = k.size, body
	if k.size == 0 {
		r.Close()
		req.Body = http.NoBody
	}
	if k.size >= expectFrom && !c.noExpect.Load() {
		req.Header.Set("Expect", "100-continue")
	}
	return req, body, nil
}

// LocalError means that the content to send cannot be read. The registry is not at fault.
type LocalError struct{ Err error }

func (e *LocalError) Error() string { return e.Err.Error() }
func (e *LocalError) Unwrap() error { return e.Err }

// broken returns the error for a request without a complete answer. It drops the URL from errors
// of net/http, because the URL may contain a secret.
func (c *Client) broken(k *call, target *url.URL, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	e := k.fail(SideNetwork, ErrUnreachable, err)
	e.Host, e.away = target.Host, c.reached.Load() && isAway(err)
	var unknown x509.UnknownAuthorityError
	var verification *tls.CertificateVerificationError
	var name *net.DNSError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, ErrStalled):
		e.Cause, e.Err = ErrStalled, nil
	case errors.Is(err, http.ErrSchemeMismatch):
		e.Cause, e.Err = ErrPlainHTTP, nil
	case !c.reached.Load() && errors.As(err, &record):
		e.Cause = ErrNotTLS
	case !c.reached.Load() && strings.Contains(err.Error(), "malformed HTTP"):
		e.Cause = ErrRefused
		if strings.Contains(err.Error(), tlsAlert) {
			e.Err = errNotPlain
		}
	case errors.As(err, &verification), errors.As(err, &unknown):
		e.Cause = ErrCertificate
	case errors.As(err, &name) && name.IsNotFound, errors.Is(err, syscall.ECONNREFUSED), isAlert(err):
		// A registry that answered before is probably restarting. If it never answered, the address
		// is probably wrong, so retries are useless.
		e.final = !c.reached.Load()
	case errors.Is(err, io.EOF):
		e.Err = errors.New("the connection was closed before the server answered")
	}
	return e
}

// isAway reports whether err means that no connection could be made.
func isAway(err error) bool {
	var op *net.OpError
	var name *net.DNSError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") || errors.As(err, &name)
}

// tlsAlert is the start of a TLS server's answer to plain HTTP, as net/http quotes it.
const tlsAlert = `"\x15\x03`

// errNotPlain is the detail of ErrRefused if the server expects TLS.
var errNotPlain = errors.New("the server speaks TLS, but the request was plain HTTP")

// isAlert reports whether the TLS handshake was aborted. Either the server aborted it, for example
// because it requires a client certificate, or the client did, because the answer was not TLS.
func isAlert(err error) bool {
	var alert tls.AlertError
	var op *net.OpError
	return errors.As(err, &alert) || errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
}

// discard closes the body of an unwanted answer, but keeps the slot of the limiter. It first reads
// the beginning of the body, so that the connection can be reused.
func (r *receiving) discard() {
	_, _ = io.Copy(io.Discard, io.LimitReader(r, 64<<10))
	r.done = func() {}
	r.Close()
}
