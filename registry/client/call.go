package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// call is one request of the protocol, including all of its retries.
type call struct {
	op         string // for errors, such as "put manifest"
	method     string
	url        *url.URL
	repository string
	reference  string
	header     http.Header
	want       []int    // the statuses that mean success
	scopes     []string // a token has to allow these

	body     func() (io.ReadCloser, error) // opened again for each try; nil: no body
	size     int64                         // of the body
	patience time.Duration                 // how long the answer may take beyond the stall timeout

	anonymous bool        // sent without a login
	basic     *Credential // for a token server
	secret    bool        // the body contains a secret: never send it to another host
	unbounded bool        // bypasses the limiter: the caller already holds a slot
	once      bool        // never retried here: the caller knows how to continue
}

func (k *call) setBody(b []byte) {
	k.size = int64(len(b))
	k.body = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// fail makes an error of the call.
func (k *call) fail(side Side, cause, err error) *Error {
	return &Error{Op: k.op, Host: k.url.Host, Repository: k.repository, Reference: k.reference, Side: side, Cause: cause, Err: err}
}

// do sends a call until it is answered with a wanted status, or fails permanently. The
// caller closes the body of the answer, which occupies a slot of the limiter until then.
// Errors: *Error, *LocalError, and the context's.
func (c *Client) do(ctx context.Context, k *call) (*http.Response, error) {
	var f failures
	for {
		resp, err := c.attempt(ctx, k)
		if err == nil {
			return resp, nil
		}
		if err := c.pause(ctx, &f, err, k.once); err != nil {
			return nil, err
		}
	}
}

// attempt sends a call once, or twice if the first answer asks for a login, and checks the
// status. It occupies a slot of the limiter until the answer's body is closed.
func (c *Client) attempt(ctx context.Context, k *call) (resp *http.Response, err error) {
	if !k.unbounded {
		if err := c.limiter.acquire(ctx); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				c.limiter.release()
			}
		}()
	}
	began := time.Now()
	if resp, err = c.logIn(ctx, k); err != nil {
		return nil, err
	}
	if slices.Contains(k.want, resp.StatusCode) {
		c.limiter.succeeded()
		return resp, nil
	}
	defer resp.Body.(*receiving).discard()
	e := c.errorOf(k, resp)
	if e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable {
		pause := e.retryAfter
		if pause > maxRetryAfter {
			pause = 0 // this call fails; a pause this long would block all others too
		}
		c.limiter.overloaded(began, pause)
	}
	return nil, e
}

// errorOf makes an error of an answer with an unwanted status.
func (c *Client) errorOf(k *call, resp *http.Response) *Error {
	// A body that cannot be read adds nothing to the error.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	e := k.fail(SideRegistry, causeOf(resp.StatusCode), nil)
	e.Host = resp.Request.URL.Host
	e.Status, e.Server, e.Codes = resp.StatusCode, problem.Excerpt(resp.Header.Get("Server"), 60), ParseCodes(body)
	e.retryAfter = retryAfter(resp.Header, time.Now())
	if theirs, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		e.Skew = theirs.Sub(time.Now().Truncate(time.Second))
	}
	if resp.StatusCode == http.StatusBadRequest && saysTLS(body) {
		e.Err = errNotPlain
	}
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		credential, err := c.credential(resp.Request.Context(), k.repository)
		ch, _ := c.auth.challenge()
		e.Scheme, e.Anonymous = ch.scheme, err == nil && credential.Empty()
		switch {
		case resp.StatusCode == http.StatusForbidden:
		case !resp.Body.(*receiving).home || !k.anonymous && !c.isRegistry(k.url):
			e.Err = c.errElsewhere()
		case err == nil && k.basic == nil:
			e.Err = errors.New("tried with " + credential.String())
		}
	}
	if resp.StatusCode/100 == 3 {
		if to, err := resp.Request.URL.Parse(resp.Header.Get("Location")); err == nil {
			e.Err = errors.New("it redirects to " + to.Scheme + "://" + to.Host)
		}
	}
	if e.retryAfter > maxRetryAfter {
		e.Err = errors.New("it asks to retry in " + e.retryAfter.String())
	}
	return e
}

// logIn sends the call, and sends it again if the answer asks for a login.
func (c *Client) logIn(ctx context.Context, k *call) (*http.Response, error) {
	var narrow []string
	for again := false; ; again = true {
		resp, err := c.send(ctx, k, narrow)
		if err == nil && resp.StatusCode == http.StatusExpectationFailed && resp.Request.Header.Get("Expect") != "" {
			c.noExpect.Store(true) // a proxy does not support it (RFC 9110, section 10.1.1)
			resp.Body.(*receiving).discard()
			resp, err = c.send(ctx, k, narrow)
		}
		if err != nil || resp.StatusCode != http.StatusUnauthorized || again || !c.mayChallenge(k, resp) {
			return resp, err
		}
		var retry bool
		if narrow, retry = c.challenged(resp.Request, resp, k); !retry {
			return resp, nil
		}
		resp.Body.(*receiving).discard()
	}
}

// mayChallenge reports whether an answer may ask for the registry's login: it must come
// from the registry itself, without an earlier redirect to another host.
func (c *Client) mayChallenge(k *call, resp *http.Response) bool {
	return !k.anonymous && resp.Body.(*receiving).home && c.isRegistry(k.url)
}

// saysTLS reports whether the body of a 400 is that of a TLS server that received plain
// HTTP: Go's, nginx's or Apache's.
func saysTLS(body []byte) bool {
	phrases := []string{"HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port", "speaking plain HTTP to an SSL-enabled server"}
	return slices.ContainsFunc(phrases, func(phrase string) bool { return bytes.Contains(body, []byte(phrase)) })
}
