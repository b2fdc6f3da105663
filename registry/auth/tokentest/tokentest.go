// Package tokentest is a small token server for tests. It issues tokens of the distribution
// project's "Token Authentication Specification" to its users, signed with its own key.
//
// Create one with [New], serve its [Server.ServeHTTP] below any path, and configure a
// registry with the files that [Server.WriteKeys] writes.
package tokentest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// TB contains the methods of testing.TB that a server needs.
type TB interface {
	Helper()
	Error(args ...any)
	Fatal(args ...any)
}

// Server is a token server. Set its fields before it serves requests.
type Server struct {
	Issuer, Service string
	// Users maps names to passwords.
	Users map[string]string
	// May reports whether a user may pull from a repository. If May is nil, every user may.
	May func(user, repository string) bool
	// Grant reports whether tokens allow an action, such as pull. nil means that they allow every action.
	Grant func(action string) bool
	// Lifetime says how long a token is valid.
	Lifetime time.Duration

	tb   TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// New creates a server with a new signing key.
func New(tb TB) *Server {
	tb.Helper()
	s := &Server{Issuer: "tokens.example", Service: "layoutproxy.example", Users: map[string]string{}, Lifetime: 5 * time.Minute, tb: tb}
	var err error
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: s.Issuer},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &s.key.PublicKey, s.key)
	if err != nil {
		tb.Fatal(err)
	}
	if s.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	return s
}

// WriteKeys writes the server's certificate and its public key into dir. It returns the two
// files: the first is PEM, the second a JSON Web Key Set.
func (s *Server) WriteKeys(dir string) (certs, jwks string) {
	s.tb.Helper()
	certs, jwks = filepath.Join(dir, "certs.pem"), filepath.Join(dir, "jwks.json")
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &s.key.PublicKey, KeyID: s.keyID(), Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		s.tb.Fatal(err)
	}
	for file, data := range map[string][]byte{certs: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw}), jwks: set} {
		if err := os.WriteFile(file, data, 0o644); err != nil {
			s.tb.Fatal(err)
		}
	}
	return certs, jwks
}

func (s *Server) keyID() string { return token.GetJWKThumbprint(&s.key.PublicKey) }

// Token returns a token with the given claims.
func (s *Server) Token(claims token.ClaimSet) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: s.keyID()}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		s.tb.Error(err)
		return ""
	}
	signed, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		s.tb.Error(err)
	}
	return signed
}

// Claims returns the claims of a valid token for a user with the given scopes.
func (s *Server) Claims(user string, scopes ...string) token.ClaimSet {
	now := time.Now()
	claims := token.ClaimSet{
		Issuer: s.Issuer, Subject: user, Audience: []string{s.Service}, JWTID: now.String(),
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expiration: now.Add(s.Lifetime).Unix(),
		Access: []*token.ResourceActions{},
	}
	for _, scope := range scopes {
		kind, rest, _ := strings.Cut(scope, ":")
		last := strings.LastIndex(rest, ":")
		if last < 0 {
			continue
		}
		name := rest[:last]
		if kind == "repository" && s.May != nil && !s.May(user, name) {
			continue
		}
		actions := slices.DeleteFunc(strings.Split(rest[last+1:], ","), func(action string) bool { return s.Grant != nil && !s.Grant(action) })
		claims.Access = append(claims.Access, &token.ResourceActions{Type: kind, Name: name, Actions: actions})
	}
	return claims
}

// ServeHTTP answers a request for a token. The client sends its credentials in a Basic header
// (RFC 7617) or in a form, as docker does.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	user, password, _ := req.BasicAuth()
	if req.Method == http.MethodPost {
		user, password = req.PostFormValue("username"), req.PostFormValue("password")
	}
	if want, known := s.Users[user]; !known || want != password {
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	}
	if req.FormValue("service") != s.Service {
		http.Error(w, "unknown service", http.StatusBadRequest)
		return
	}
	var scopes []string
	for _, scope := range req.Form["scope"] {
		scopes = append(scopes, strings.Fields(scope)...)
	}
	signed := s.Token(s.Claims(user, scopes...))
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // this fails only if the client has disconnected
		"token": signed, "access_token": signed, "expires_in": int(s.Lifetime.Seconds()), "issued_at": time.Now().UTC().Format(time.RFC3339),
	})
}
