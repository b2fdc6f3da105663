package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// authorizer remembers how the registry wants to be logged in to, and the tokens for
// it. All of it belongs to one host, the client's registry: no other host adds to it,
// and none is shown anything of it.
type authorizer struct {
	mu     sync.Mutex
	known  challenge // of the registry; without a scheme until it has asked for a login
	tokens map[tokenKey]*tokenSlot
}

// learn remembers the challenge of the registry. Its scope is that of one request.
func (a *authorizer) learn(ch challenge) {
	params := map[string]string{"realm": ch.params["realm"], "service": ch.params["service"]}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known = challenge{ch.scheme, params}
}

// challenge is what the registry asked for last.
func (a *authorizer) challenge() (challenge, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known, a.known.scheme != ""
}

// isRegistry reports whether u is at the registry, which was reached before.
func (c *Client) isRegistry(u *url.URL) bool {
	base := c.base.Load()
	return base != nil && sameHost(base, u)
}

// authorize puts what the registry is known to want into the header of a request to it.
// narrow are scopes that it asked for in particular: see [scopesWithin].
func (c *Client) authorize(ctx context.Context, req *http.Request, k *call, narrow []string) error {
	ch, ok := c.auth.challenge()
	if !ok {
		return nil
	}
	credential, err := c.credential(ctx, k.repository)
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
	if len(narrow) > 0 {
		scopes = slices.Concat(narrow, k.scopes) // some servers look at the first one only
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
// the client's own requests: a challenge of another host than the registry is not met,
// and no token server is asked at a private address, or in the clear by a registry with
// TLS. Errors: *Error, also beside what is known of the login; the context's.
func (c *Client) LogIn(ctx context.Context, from *url.URL, header http.Header, repository string) (Login, error) {
	k := &call{op: "log in", url: from, repository: repository}
	if !sameHost(&url.URL{Scheme: from.Scheme, Host: c.options.Registry}, from) {
		return Login{}, k.fail(SideRegistry, ErrUnauthorized, c.errElsewhere())
	}
	ch, ok := challengeOf(header)
	if !ok {
		said := oneLine(strings.Join(header.Values("WWW-Authenticate"), ", "), 100)
		return Login{}, k.fail(SideRegistry, ErrUnauthorized, fmt.Errorf("%w: %q", errNoWay, said))
	}
	credential, err := c.credential(ctx, repository)
	if err != nil {
		return Login{Scheme: ch.scheme}, k.fail(SideLocal, ErrCredentials, err)
	}
	if repository != "" {
		k.scopes = []string{c.scope(repository, http.MethodGet)}
	}
	c.auth.learn(ch)
	req := &http.Request{URL: from, Header: http.Header{}}
	err = c.authorize(ctx, req, k, nil)
	return Login{ch.scheme, credential, req.Header.Get("Authorization")}, err
}

// errElsewhere says why another host's wish for a login is not met.
func (c *Client) errElsewhere() error {
	return fmt.Errorf("it is not %s: %w", c.options.Registry, ErrOtherHost)
}

// challenged takes in the challenge of the registry's 401, and says whether another try
// has a chance: it was not known to want a login, or a token has expired. narrow are the
// scopes that it wants a token for, as far as the call needs them.
func (c *Client) challenged(req *http.Request, resp *http.Response, k *call) (narrow []string, again bool) {
	ch, ok := challengeOf(resp.Header)
	if !ok {
		return nil, false
	}
	_, known := c.auth.challenge()
	c.auth.learn(ch)
	if ch.scheme == "bearer" {
		c.auth.forget(req.Header.Get("Authorization"))
		return scopesWithin(ch.params["scope"], k.scopes), true
	}
	return nil, !known
}

// scopesWithin are those scopes of a challenge that allow nothing which the scopes of
// the call do not: of what it is for, and of its actions. The others are the server's
// wish, and a token for them is nothing that the user has asked for.
func scopesWithin(challenged string, scopes []string) (within []string) {
	for _, scope := range strings.Fields(challenged) {
		resource, actions := cutActions(scope)
		narrower := slices.ContainsFunc(scopes, func(s string) bool {
			ours, allowed := cutActions(s)
			return resource == ours && s != scope && !slices.ContainsFunc(actions, func(a string) bool { return !slices.Contains(allowed, a) })
		})
		if narrower {
			within = append(within, scope)
		}
	}
	return within
}

// cutActions splits a scope (distribution's token specification), as
// repository:a/b:pull,push.
func cutActions(scope string) (resource string, actions []string) {
	i := strings.LastIndexByte(scope, ':')
	return scope[:max(i, 0)], strings.Split(scope[i+1:], ",")
}

// credential is how to log in to the registry, whichever way its default port is
// written where the credential is kept.
func (c *Client) credential(ctx context.Context, repository string) (Credential, error) {
	if !c.options.Credential.Empty() {
		return c.options.Credential, nil
	}
	if c.options.Keychain == nil {
		return Credential{}, nil
	}
	names := []string{c.given, c.options.Registry}
	if bare := hostname(c.options.Registry); bare == strings.Trim(c.options.Registry, "[]") {
		names = append(names, c.options.Registry+defaultPort(c.options.PlainHTTP))
	}
	for i, host := range names {
		if slices.Contains(names[:i], host) {
			continue
		}
		found, err := c.options.Keychain.Credential(ctx, host, repository)
		if err != nil || !found.Empty() {
			return found, err
		}
	}
	return Credential{}, nil
}
