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

// Tokens is a token server (distribution's token specification) with one user, which
// grants every scope.
type Tokens struct {
	*httptest.Server
	Host string

	signer *tokentest.Server
	mu     sync.Mutex
	asked  []string
	grant  func(action string) bool // nil: all
	answer http.Handler             // replaces the server if not nil
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

// Asked returns the scopes that tokens were requested for, one string per token.
func (t *Tokens) Asked() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.asked)
}

// Grant restricts the granted actions, such as pull and push, from now on.
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

// Answer lets h answer instead of the server.
func (t *Tokens) Answer(h http.Handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer = h
}

// parameters configure distribution to trust the server.
func (t *Tokens) parameters(tb TB) configuration.Parameters {
	_, jwks := t.signer.WriteKeys(tb.TempDir())
	return configuration.Parameters{"realm": t.URL + "/token", "issuer": t.signer.Issuer, "service": t.signer.Service, "jwks": jwks}
}

// ServeHTTP answers GET with basic authentication, and POST with a refresh token, which is the
// password.
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
