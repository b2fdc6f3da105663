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

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// authorizer remembers how the registry authenticates clients, and the tokens that the client
// received. It belongs to one registry: no other host adds to it or gets anything from it.
type authorizer struct {
	mu     sync.Mutex
	known  challenge // its scheme is empty until the registry has asked for a login
	tokens map[tokenKey]*tokenSlot
}

// learn remembers the registry's challenge without its scope, which applies to one request only.
func (a *authorizer) learn(ch challenge) {
	params := map[string]string{"realm": ch.params["realm"], "service": ch.params["service"]}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known = challenge{ch.scheme, params}
}

func (a *authorizer) challenge() (challenge, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known, a.known.scheme != ""
}

// isRegistry reports whether u is a URL of the registry. It returns false before the first
// contact with the registry.
func (c *Client) isRegistry(u *url.URL) bool {
	base := c.base.Load()
	return base != nil && SameHost(base, u)
}

// authorize adds an Authorization header to req if the registry is known to require a login. narrow
// contains scopes from the registry's challenge: see [scopesWithin].
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
		scopes = slices.Concat(narrow, k.scopes) // the narrow scopes come first, because some servers read only the first scope
	}
	token, err := c.token(ctx, tokenRequest{from: req.URL, challenge: ch, scopes: scopes, credential: credential})
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// errNoWay means that the registry requires a login, but offers no method that the client supports.
var errNoWay = errors.New("the registry requires a login, but offers neither Basic nor Bearer")

// Login describes the client's answer to an authentication challenge.
type Login struct {
	// Scheme is basic or bearer; empty if unknown.
	Scheme     string
	Credential Credential
	// Authorization is the value of the header; empty if a required credential is missing.
	Authorization string
}

// LogIn computes the login that answers the challenge in header. This is the header of a 401 answer,
// and from is the URL that sent the answer. The login allows pulling from repository, which may be
// empty. LogIn refuses challenges from hosts other than the registry, and token servers that Options
// does not allow. The error is an *Error or the context's. If there is an error, the Login contains
// what is known so far.
func (c *Client) LogIn(ctx context.Context, from *url.URL, header http.Header, repository string) (Login, error) {
	k := &call{op: "log in", url: from, repository: repository}
	if !SameHost(&url.URL{Scheme: from.Scheme, Host: c.options.Registry}, from) {
		return Login{}, k.fail(SideRegistry, ErrUnauthorized, c.errElsewhere())
	}
	ch, ok := challengeOf(header)
	if !ok {
		offered := problem.Excerpt(strings.Join(header.Values("WWW-Authenticate"), ", "), 100)
		return Login{}, k.fail(SideRegistry, ErrUnauthorized, fmt.Errorf("%w: %q", errNoWay, offered))
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

// errElsewhere explains why the client does not answer an authentication challenge from a host
// other than the registry.
func (c *Client) errElsewhere() error {
	return fmt.Errorf("this host is not %s: %w", c.options.Registry, ErrOtherHost)
}

// challenged learns from the challenge in the registry's 401 answer. again reports whether to send
// the request again: yes after a Bearer challenge, and after a Basic challenge only if the registry
// was not known to require a login before. For narrow, see [scopesWithin].
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

// scopesWithin returns the scopes of a challenge that are part of a scope of the call but not equal
// to one. The client requests no token for scopes outside of the call's scopes: the server chose
// them, and the user did not ask for those resources or actions.
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

// cutActions splits a scope, such as repository:a/b:pull,push, into its resource and its actions
// (distribution's token specification).
func cutActions(scope string) (resource string, actions []string) {
	i := strings.LastIndexByte(scope, ':')
	return scope[:max(i, 0)], strings.Split(scope[i+1:], ",")
}

// credential returns the registry's credential, which may be stored with or without the default
// port.
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
