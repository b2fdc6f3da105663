package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// authorizer remembers how hosts want to be authenticated to, and their tokens.
type authorizer struct {
	mu         sync.Mutex
	challenges map[string]challenge  // by host
	tokens     map[string]*tokenSlot // by realm, service and scopes
}

// learn remembers the challenge of a host. Its scope is that of one request.
func (a *authorizer) learn(host string, ch challenge) {
	ch.params = maps.Clone(ch.params)
	delete(ch.params, "scope")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.challenges[host] = ch
}

func (a *authorizer) challenge(host string) (challenge, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ch, ok := a.challenges[host]
	return ch, ok
}

// authorize puts what the host of the request is known to want into its header. The
// scope is what the host asked for beside the scopes of the call, or "".
func (c *Client) authorize(ctx context.Context, req *http.Request, k *call, scope string) error {
	ch, ok := c.auth.challenge(req.URL.Host)
	if !ok || k.anonymous {
		return nil
	}
	credential, err := c.credential(ctx, req.URL.Host, k.repository)
	if err != nil {
		return &Error{Op: k.op, Host: req.URL.Host, Repository: k.repository, Side: SideLocal, Cause: ErrCredentials, Err: err}
	}
	if credential.RegistryToken != "" {
		req.Header.Set("Authorization", "Bearer "+credential.RegistryToken)
		return nil
	}
	if ch.scheme == "basic" {
		if credential.Username != "" || credential.Password != "" {
			pair := credential.Username + ":" + credential.Password
			req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
		}
		return nil
	}
	scopes := k.scopes
	if scope != "" && !slices.Contains(scopes, scope) {
		scopes = append([]string{scope}, scopes...) // some servers look at the first one only
	}
	token, err := c.token(ctx, tokenRequest{from: req.URL, challenge: ch, scopes: scopes, credential: credential})
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// errNoWay says that no challenge of an answer can be met.
var errNoWay = errors.New("it wants a login and names no way that we know: neither Basic nor Bearer")

// Login is how the challenge of an answer is met.
type Login struct {
	Scheme        string // basic or bearer; empty where none is known
	Credential    Credential
	Authorization string // the header; empty where it wants a credential and there is none
}

// LogIn meets the challenge of an answer (401) with those headers to a request of from,
// for who pulls from repository, which may be empty. It is bound by the same rules as
// the client's own requests: what is known of the registry is shown to no other host,
// and no token server is asked at a private address, or in the clear by a registry with
// TLS. Errors: *Error, also beside what is known of the login; the context's.
func (c *Client) LogIn(ctx context.Context, from *url.URL, header http.Header, repository string) (Login, error) {
	k := &call{op: "log in", url: from, repository: repository}
	ch, ok := challengeOf(header)
	if !ok {
		said := oneLine(strings.Join(header.Values("WWW-Authenticate"), ", "), 100)
		return Login{}, k.fail(SideRegistry, ErrUnauthorized, fmt.Errorf("%w: %q", errNoWay, said))
	}
	credential, err := c.credential(ctx, from.Host, repository)
	if err != nil {
		return Login{Scheme: ch.scheme}, k.fail(SideLocal, ErrCredentials, err)
	}
	if repository != "" {
		k.scopes = []string{c.scope(repository, http.MethodGet)}
	}
	c.auth.learn(from.Host, ch)
	req := &http.Request{URL: from, Header: http.Header{}}
	err = c.authorize(ctx, req, k, "")
	return Login{ch.scheme, credential, req.Header.Get("Authorization")}, err
}

// challenged takes in the challenge of a 401, and says whether another try has a
// chance: the host was not known to want a login, or a token has expired. scope is
// what the host wants a token for.
func (c *Client) challenged(req *http.Request, resp *http.Response, k *call) (scope string, again bool) {
	ch, ok := challengeOf(resp.Header)
	if !ok || k.anonymous {
		return "", false
	}
	_, known := c.auth.challenge(req.URL.Host)
	c.auth.learn(req.URL.Host, ch)
	if ch.scheme == "bearer" {
		c.auth.forget(req.Header.Get("Authorization"))
		return ch.params["scope"], true
	}
	return "", !known
}

// credential is how to log in to host.
func (c *Client) credential(ctx context.Context, host, repository string) (Credential, error) {
	if !c.options.Credential.Empty() && c.trusted(host) {
		return c.options.Credential, nil
	}
	if c.options.Keychain == nil {
		return Credential{}, nil
	}
	found, err := c.options.Keychain.Credential(ctx, host, repository)
	if err == nil && found.Empty() && host != c.options.Registry && c.trusted(host) {
		return c.options.Keychain.Credential(ctx, c.options.Registry, repository)
	}
	return found, err
}
