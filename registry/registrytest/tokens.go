package registrytest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/layoutproxy/layoutproxy/registry/auth/tokentest"
)

// Tokens is a token server with one user (distribution's token specification). It grants every
// scope that a client requests, unless [Tokens.Grant] restricts the actions.
type Tokens struct {
	*httptest.Server
	Host string

	signer *tokentest.Server
	mu     sync.Mutex
	asked  []string
	// grant decides which actions are granted. nil means all.
	grant func(action string) bool
	// answer replaces the server's handler. nil means no replacement.
	answer http.Handler
}

func newTokens(tb TB) *Tokens {
	tb.Helper()
	t := &Tokens{signer: tokentest.New(tb)}
	t.signer.Issuer, t.signer.Service, t.signer.Lifetime = "test", "registry", time.Minute
	t.signer.Users[Username] = Password
	t.signer.Grant = t.grants
	t.Server = httptest.NewServer(t)
	tb.Cleanup(t.Close)
	t.Host = t.Listener.Addr().String()
	return t
}

// Asked returns the scopes for which clients got tokens, as one string per token.
func (t *Tokens) Asked() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.asked)
}

// Grant restricts which actions, such as pull and push, are granted from now on.
func (t *Tokens) Grant(grant func(action string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.grant = grant
}

func (t *Tokens) grants(action string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.grant == nil || t.grant(action)
}

// Answer makes h answer all requests from now on, instead of the token server.
func (t *Tokens) Answer(h http.Handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer = h
}

// parameters returns a configuration with which distribution trusts the token server.
func (t *Tokens) parameters(tb TB) configuration.Parameters {
	_, jwks := t.signer.WriteKeys(tb.TempDir())
	return configuration.Parameters{"realm": t.URL + "/token", "issuer": t.signer.Issuer, "service": t.signer.Service, "jwks": jwks}
}

// ServeHTTP sends a token if a GET request has the user's basic authentication, or if a POST request
// has the password as its refresh token. After [Tokens.Answer], the given handler answers instead.
func (t *Tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	answer := t.answer
	t.mu.Unlock()
	if answer != nil {
		answer.ServeHTTP(w, r)
		return
	}
	if refresh := r.PostFormValue("refresh_token"); refresh != "" {
		r.PostForm.Set("username", Username)
		r.PostForm.Set("password", refresh)
	}
	issued := record(t.signer, r)
	if issued.Code == http.StatusOK {
		t.mu.Lock()
		t.asked = append(t.asked, strings.Join(r.Form["scope"], " "))
		t.mu.Unlock()
	}
	send(w, issued, issued.Body.Bytes())
}
