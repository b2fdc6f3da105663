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
)

// call is one request of the protocol, however often it has to be sent.
type call struct {
	op         string // for errors, as "put manifest"
	method     string
	url        *url.URL
	repository string
	reference  string
	header     http.Header
	want       []int    // the statuses that are an answer
	scopes     []string // of a token

	body     func() (io.ReadCloser, error) // made anew for each try; nil is none
	size     int64                         // of the body
	patience time.Duration                 // beside the usual silence, before the answer

	anonymous bool        // without a login
	basic     *Credential // of a token server
	secret    bool        // the body holds a secret: it goes to no other host
	unbounded bool        // outside of the limiter: the caller holds a turn already
	once      bool        // not to be sent again: the caller knows better how to go on
}

func (k *call) setBody(b []byte) {
	k.size = int64(len(b))
	k.body = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// fail is an error of the call.
func (k *call) fail(side Side, cause, err error) *Error {
	return &Error{Op: k.op, Host: k.url.Host, Repository: k.repository, Reference: k.reference, Side: side, Cause: cause, Err: err}
}

// do sends a call until it is answered with a status that is wanted, or fails for
// good. The caller closes the body of the answer, which holds a turn of the limiter
// until then. Errors: *Error, and the context's.
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

// attempt sends a call once; twice where the first answer is that of a login.
func (c *Client) attempt(ctx context.Context, k *call) (*http.Response, error) {
	if !k.unbounded {
		if err := c.limiter.acquire(ctx); err != nil {
			return nil, err
		}
	}
	resp, err := c.exchange(ctx, k)
	if err != nil && !k.unbounded {
		c.limiter.release()
	}
	return resp, err
}

// exchange gets an answer and judges it. The turn of the limiter is released by
// the answer's body, or by the caller in case of an error.
func (c *Client) exchange(ctx context.Context, k *call) (*http.Response, error) {
	began := time.Now()
	resp, err := c.logIn(ctx, k)
	if err != nil {
		return nil, err
	}
	if slices.Contains(k.want, resp.StatusCode) {
		c.limiter.succeeded()
		return resp, nil
	}
	defer resp.Body.(*receiving).discard()
	e := c.judge(k, resp)
	if e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable {
		pause := e.retryAfter
		if pause > maxRetryAfter {
			pause = 0 // it ends the call, and others shall find out by themselves
		}
		c.limiter.overloaded(began, pause)
	}
	return nil, e
}

// judge makes an error of an answer that is not wanted.
func (c *Client) judge(k *call, resp *http.Response) *Error {
	// What cannot be read of it says nothing.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	e := k.fail(SideRegistry, causeOf(resp.StatusCode), nil)
	e.Host = resp.Request.URL.Host
	e.Status, e.Server, e.Codes = resp.StatusCode, oneLine(resp.Header.Get("Server"), 60), codesOf(body)
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
		e.Err = errors.New("it asks to come back in " + e.retryAfter.String())
	}
	return e
}

// logIn sends the call, once more where it turns out that a login is needed.
func (c *Client) logIn(ctx context.Context, k *call) (*http.Response, error) {
	var narrow []string
	for again := false; ; again = true {
		resp, err := c.send(ctx, k, narrow)
		if err == nil && resp.StatusCode == http.StatusExpectationFailed && resp.Request.Header.Get("Expect") != "" {
			c.noExpect.Store(true) // a proxy that does not know it (RFC 9110, section 10.1.1)
			resp.Body.(*receiving).discard()
			resp, err = c.send(ctx, k, narrow)
		}
		if err != nil || resp.StatusCode != http.StatusUnauthorized || again || !c.mayChallenge(k, resp) {
			return resp, err
		}
		var chance bool
		if narrow, chance = c.challenged(resp.Request, resp, k); !chance {
			return resp, nil
		}
		resp.Body.(*receiving).discard()
	}
}

// mayChallenge reports whether an answer can ask for the registry's login: it is the
// registry's own, and nothing else has led there.
func (c *Client) mayChallenge(k *call, resp *http.Response) bool {
	return !k.anonymous && resp.Body.(*receiving).home && c.isRegistry(k.url)
}

// saysTLS reports whether the body of a 400 is what a server with TLS says to plain HTTP:
// Go's, nginx' and Apache's.
func saysTLS(body []byte) bool {
	for _, words := range []string{"HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port", "speaking plain HTTP to an SSL-enabled server"} {
		if bytes.Contains(body, []byte(words)) {
			return true
		}
	}
	return false
}
