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

// call is one request to the registry, including all of its retries.
type call struct {
	// op names the operation in errors, such as "put manifest".
	op         string
	method     string
	url        *url.URL
	repository string
	reference  string
	header     http.Header
	// want lists the HTTP statuses that mean success.
	want   []int
	scopes []string

	// body is called to open the body for each try. nil means no body.
	body func() (io.ReadCloser, error)
	size int64
	// patience is how long the answer may take beyond the stall timeout.
	patience time.Duration

	anonymous bool
	basic     *Credential
	// secret means that the body contains a secret, and must never be sent to another host.
	secret bool
	// unbounded means that the call bypasses the limiter, because the caller already holds a slot.
	unbounded bool
	// once means that the method do does not retry the call, because the caller knows how to continue.
	once bool
}

func (k *call) setBody(b []byte) {
	k.size = int64(len(b))
	k.body = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func (k *call) fail(side Side, cause, err error) *Error {
	return &Error{Op: k.op, Host: k.url.Host, Repository: k.repository, Reference: k.reference, Side: side, Cause: cause, Err: err}
}

// do sends a call until its answer has a wanted status, or until it fails permanently. The caller
// must close the body of the answer: until then, the answer occupies a slot of the limiter. The
// error is an *Error, a *LocalError or the context's.
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

// attempt sends a call once, or twice if the first answer asks for a login. It returns an error if
// the status is not wanted. The answer occupies a slot of the limiter until its body is closed.
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
			pause = 0 // this call fails; such a long pause would also block all other calls
		}
		c.limiter.overloaded(began, pause)
	}
	return nil, e
}

func (c *Client) errorOf(k *call, resp *http.Response) *Error {
	// An unreadable body adds nothing to the error.
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
			e.Err = errors.New("the server redirects to " + to.Scheme + "://" + to.Host)
		}
	}
	if e.retryAfter > maxRetryAfter {
		e.Err = errors.New("the server asks to retry in " + e.retryAfter.String())
	}
	return e
}

// logIn sends the call. If the answer asks for a login, logIn sends the call again.
func (c *Client) logIn(ctx context.Context, k *call) (*http.Response, error) {
	var narrow []string
	for again := false; ; again = true {
		resp, err := c.send(ctx, k, narrow)
		if err == nil && resp.StatusCode == http.StatusExpectationFailed && resp.Request.Header.Get("Expect") != "" {
			c.noExpect.Store(true) // a proxy does not support the Expect header (RFC 9110, section 10.1.1)
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

// mayChallenge reports whether an answer may ask for the registry's login. The answer must come
// from the registry itself, not from a host that the registry redirected the call to.
func (c *Client) mayChallenge(k *call, resp *http.Response) bool {
	return !k.anonymous && resp.Body.(*receiving).home && c.isRegistry(k.url)
}

// saysTLS reports whether a 400 answer comes from a server that expects TLS but received plain
// HTTP. It knows the bodies that servers in Go, nginx and Apache send.
func saysTLS(body []byte) bool {
	phrases := []string{"HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port", "speaking plain HTTP to an SSL-enabled server"}
	return slices.ContainsFunc(phrases, func(phrase string) bool { return bytes.Contains(body, []byte(phrase)) })
}
