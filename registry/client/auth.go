package client

import (
	"context"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
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
	if !c.options.Credential.empty() && c.trusted(host) {
		return c.options.Credential, nil
	}
	if c.options.Keychain == nil {
		return Credential{}, nil
	}
	found, err := c.options.Keychain.Credential(ctx, host, repository)
	if err == nil && found.empty() && host != c.options.Registry && c.trusted(host) {
		return c.options.Keychain.Credential(ctx, c.options.Registry, repository)
	}
	return found, err
}
