package auth_test

import (
	"net/http"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry"
	"github.com/layoutproxy/layoutproxy/registry/auth"
	"github.com/layoutproxy/layoutproxy/registry/auth/tokentest"
)

// A token is accepted only if it is signed with a key from the set. Whatever the file contains, the registry
// refuses requests without a token, unsigned tokens, and tokens of a server whose key is not in the set.
func FuzzKeySet(f *testing.F) {
	dir := f.TempDir()
	server, stranger := tokentest.New(f), tokentest.New(f)
	_, own := server.WriteKeys(dir)
	good := layouttest.ReadFile(f, own)
	file := filepath.Join(dir, "fuzzed.json")
	for _, s := range []string{
		string(good), "", "{}", "null", `{"keys":[]}`, `{"keys":[{"kty":"oct","k":"c2VjcmV0","alg":"HS256","kid":"x"}]}`, `{"keys":[{}]}`,
		`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}`, `{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`, `{"keys":{}}`, `[]`, string(good) + string(good), string(good[:len(good)/2]),
	} {
		f.Add([]byte(s))
	}
	token := auth.Token{Realm: "https://tokens.example/", Service: stranger.Service, Issuer: stranger.Issuer, JWKS: file}
	others := []string{"", "Bearer " + stranger.Token(stranger.Claims("ann")), "Bearer eyJhbGciOiJub25lIn0.e30."}
	f.Fuzz(func(t *testing.T, data []byte) {
		layouttest.WriteFile(t, file, data)
		h, err := auth.New(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
			auth.Options{Token: token, Log: zap.NewNop(), Scope: registry.Scope})
		if err != nil {
			return
		}
		for _, authorization := range others {
			if status := ask(h, "GET", "/v2/", authorization).StatusCode; status != http.StatusUnauthorized {
				t.Fatalf("keys %q, header %q: got status %d, want 401", data, authorization, status)
			}
		}
		isOwn := string(data) == string(good)
		if status := ask(h, "GET", "/v2/", "Bearer "+server.Token(server.Claims("ann"))).StatusCode; isOwn && status != http.StatusNoContent {
			t.Fatalf("a valid token with the server's own keys: got status %d, want 204", status)
		}
	})
}
