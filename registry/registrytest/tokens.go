package registrytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/configuration"
)

// Tokens is a token server (distribution's token specification) with one user, which
// grants every scope.
type Tokens struct {
	*httptest.Server
	Host string

	key *ecdsa.PrivateKey
	mu  sync.Mutex
	// Life is how long tokens are valid, as announced and in fact.
	life   time.Duration
	asked  []string
	serial int
	grant  func(action string) bool // nil: all
	answer http.Handler             // replaces the server if not nil
}

func newTokens(tb TB) *Tokens {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	t := &Tokens{key: key, life: time.Minute}
	t.Server = httptest.NewServer(t)
	tb.Cleanup(t.Close)
	t.Host = t.Listener.Addr().String()
	return t
}

// Asked returns the scopes that tokens were requested for, one string per token.
func (t *Tokens) Asked() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.asked...)
}

// Grant restricts the granted actions, such as pull and push, from now on.
func (t *Tokens) Grant(grant func(action string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.grant = grant
}

// Answer lets h answer instead of the server.
func (t *Tokens) Answer(h http.Handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer = h
}

// parameters configure distribution to trust the server.
func (t *Tokens) parameters(tb TB) configuration.Parameters {
	tb.Helper()
	point, err := t.key.PublicKey.Bytes()
	if err != nil {
		tb.Fatal(err)
	}
	jwks := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"test","use":"sig","x":%q,"y":%q}]}`, encode(point[1:33]), encode(point[33:]))
	file := filepath.Join(tb.TempDir(), "jwks.json")
	if err := os.WriteFile(file, []byte(jwks), 0o600); err != nil {
		tb.Fatal(err)
	}
	return configuration.Parameters{"realm": t.URL + "/token", "issuer": "test", "service": "registry", "jwks": file}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// ServeHTTP implements http.Handler: GET with basic authentication, POST with a refresh
// token, which is the password.
func (t *Tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	answer := t.answer
	t.mu.Unlock()
	if answer != nil {
		answer.ServeHTTP(w, r)
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	user, password, _ := r.BasicAuth()
	if r.Method == http.MethodPost {
		user, password = Username, r.PostForm.Get("refresh_token")
	}
	if user != Username || password != Password {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	scopes := r.Form["scope"]
	if len(scopes) == 1 {
		scopes = strings.Fields(scopes[0])
	}
	token, err := t.issue(scopes)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"token":%q,"expires_in":%d}`, token, int(t.life/time.Second))
}

// issue makes a signed token (RFC 7519, ES256).
func (t *Tokens) issue(scopes []string) (string, error) {
	t.mu.Lock()
	t.asked = append(t.asked, strings.Join(scopes, " "))
	t.serial++
	serial, grant := t.serial, t.grant
	t.mu.Unlock()
	type access struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	var granted []access
	for _, s := range scopes {
		kind, rest, _ := strings.Cut(s, ":")
		name, actions, _ := strings.Cut(rest, ":")
		list := slices.DeleteFunc(strings.Split(actions, ","), func(action string) bool { return grant != nil && !grant(action) })
		granted = append(granted, access{kind, name, list})
	}
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": "test", "sub": Username, "aud": "registry", "jti": fmt.Sprint(serial), "access": granted,
		"iat": now.Unix(), "nbf": now.Unix() - 10, "exp": now.Add(t.life).Unix(),
	})
	if err != nil {
		return "", err
	}
	signed := encode([]byte(`{"alg":"ES256","typ":"JWT","kid":"test"}`)) + "." + encode(claims)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, t.key, sum[:])
	if err != nil {
		return "", err
	}
	return signed + "." + encode(append(bytes32(r), bytes32(s)...)), nil
}

func bytes32(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }
