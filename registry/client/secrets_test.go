package client_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

const (
	theRegistry = "registry.example"
	theTokens   = "tokens.example"
	attacker    = "attacker.example"
)

// stage is a network with three hosts: a registry that requires a login, its token server, and an
// attacker. Either the registry or the token server sends clients to the attacker.
type stage struct {
	// scheme is http or https, for the registry and for its token server.
	scheme string
	login  login
	// to is where clients are sent, as scheme, host and port.
	to string
	// way is how clients are sent to the attacker, such as by a redirect or a Link header.
	way string
	// asks is the attacker's challenge, "free" for none, or "back" to redirect to the registry.
	asks   string
	issued atomic.Int64
}

type login struct {
	name       string
	bearer     bool
	credential client.Credential
}

// Each secret is a unique word, so that the test finds it wherever it turns up.
const (
	secretPassword = "pass-word-secret"
	secretIdentity = "identity-secret"
	secretRegistry = "registry-token-secret"
	secretToken    = "issued-token-secret" // the token server appends a number to this text
	theBlob        = "the bytes of a blob"
)

func logins() []login {
	password := client.Credential{Username: "user", Password: secretPassword, Source: "the test"}
	return []login{
		{"basic", false, password},
		{"token", true, password},
		{"identity token", true, client.Credential{IdentityToken: secretIdentity, Source: "the test"}},
		{"registry token", true, client.Credential{RegistryToken: secretRegistry, Source: "the test"}},
	}
}

func (s *stage) registry() string { return s.scheme + "://" + theRegistry }
func (s *stage) realm() string    { return s.scheme + "://" + theTokens + "/token" }

// challenge returns the registry's challenge. Its scopes exceed those that the call needs.
func (s *stage) challenge() string {
	if s.login.bearer {
		return fmt.Sprintf(`Bearer realm="%s?scope=repository:victim/c:pull",service="registry",scope="repository:x:pull repository:victim/b:pull,push,delete"`, s.realm())
	}
	return `Basic realm="registry"`
}

func (s *stage) answer(w http.ResponseWriter, r *http.Request, at string) {
	name := strings.TrimPrefix(at, s.scheme+"://")
	switch {
	case name == s.address(theRegistry):
		s.answerRegistry(w, r)
	case name == s.address(theTokens):
		s.answerToken(w, r)
	case s.asks == "back" && !strings.Contains(r.URL.RawQuery, "again"):
		http.Redirect(w, r, s.registry()+"/v2/victim/manifests/v1?again", http.StatusTemporaryRedirect)
	case s.asks == "free":
		s.serve(w, r)
	default:
		w.Header().Set("WWW-Authenticate", s.asks)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// address returns a host with the default port of the scheme.
func (s *stage) address(host string) string {
	return host + map[string]string{"http": ":80", "https": ":443"}[s.scheme]
}

func (s *stage) answerRegistry(w http.ResponseWriter, r *http.Request) {
	if s.way == "ping" && r.URL.Path == "/v2/" {
		http.Redirect(w, r, s.to+"/v2/", http.StatusTemporaryRedirect)
		return
	}
	if auth := r.Header.Get("Authorization"); auth == "" || strings.HasPrefix(auth, "Basic ") == s.login.bearer {
		w.Header().Set("WWW-Authenticate", s.challenge())
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	kind := map[bool]string{true: "redirect"}[strings.Contains(r.URL.Path, "/blobs/sha256") || strings.Contains(r.URL.Path, "/manifests/")]
	if s.way == "redirect" && kind == "redirect" && !strings.Contains(r.URL.RawQuery, "again") {
		http.Redirect(w, r, s.to+r.URL.Path+"?again", http.StatusTemporaryRedirect)
		return
	}
	s.serve(w, r)
}

// serve answers as a healthy registry does, except for Locations and links to the attacker.
func (s *stage) serve(w http.ResponseWriter, r *http.Request) {
	location := ""
	if s.way == "location" {
		location = s.to
	}
	switch {
	case r.Method == http.MethodPost:
		w.Header().Set("Location", location+"/v2/x/blobs/uploads/1")
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPut:
		w.WriteHeader(http.StatusCreated)
	case strings.HasSuffix(r.URL.Path, "/tags/list"):
		if s.way == "link" && !strings.Contains(r.URL.RawQuery, "last") {
			w.Header().Set("Link", "<"+s.to+`/v2/x/tags/list?last=a>; rel="next"`)
		}
		fmt.Fprint(w, `{"tags":["a"]}`)
	default:
		fmt.Fprint(w, theBlob)
	}
}

func (s *stage) answerToken(w http.ResponseWriter, r *http.Request) {
	if s.way == "tokens" && !strings.Contains(r.URL.RawQuery, "again") {
		query := r.URL.Query()
		query.Set("again", "")
		http.Redirect(w, r, s.to+"/token?"+query.Encode(), http.StatusTemporaryRedirect)
		return
	}
	if r.Header.Get("Authorization") == "" && r.Method != http.MethodPost {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	fmt.Fprintf(w, `{"token":"%s-%d"}`, secretToken, s.issued.Add(1))
}

// use sends requests of all kinds to a registry, and returns the first error.
func use(t *testing.T, c *client.Client) (failed error) {
	t.Helper()
	note := func(err error) {
		if err != nil && failed == nil {
			failed = err
		}
	}
	b := blob{[]byte(theBlob), digest.FromString(theBlob)}
	_, err := c.Tags(t.Context(), "x")
	note(err)
	_, err = c.Manifest(t.Context(), "x", b.digest.String())
	note(err)
	r, err := c.Blob(t.Context(), "x", b.digest, int64(len(b.data)), 0)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		r.Close()
	}
	note(err)
	_, err = c.Upload(t.Context(), b.upload("x"))
	note(err)
	return failed
}

// checkSecrets checks which host received which secret. The password may be sent to the registry if
// it asks for Basic, and otherwise to its token server. An identity token may be sent to the token
// server, and other tokens to the registry. No other host may receive a secret. No request may mention
// the repositories victim/b and victim/c, because the calls need no scopes for them.
func checkSecrets(t *testing.T, s *stage, hops []hop) {
	t.Helper()
	registry, tokens := s.scheme+"://"+s.address(theRegistry), s.scheme+"://"+s.address(theTokens)
	ofPassword := registry
	if s.login.bearer {
		ofPassword = tokens
	}
	homes := map[string]string{
		secretPassword: ofPassword, secretIdentity: tokens, secretRegistry: registry, secretToken: registry,
	}
	pair := base64.StdEncoding.EncodeToString([]byte("user:" + secretPassword))
	for _, h := range hops {
		all := strings.ReplaceAll(fmt.Sprint(h), pair, secretPassword)
		for secret, home := range homes {
			if strings.Contains(all, secret) && h.at != home {
				t.Errorf("%s%s received the %s, want it only at its own host", h.at, h.path, secret)
			}
		}
		if strings.Contains(all, "victim/b") || strings.Contains(all, "victim/c") {
			t.Errorf("%s%s received a request for scopes that the client does not need, want none: %v %s", h.at, h.path, h.query["scope"], h.body)
		}
	}
}

// The client sends credentials only to the host that they belong to, whichever server redirects
// it or asks for them.
func TestSecretsStayWithTheirHost(t *testing.T) {
	w := newWorld(t, theRegistry, theTokens, attacker, theRegistry+"."+attacker)
	challenges := func(s *stage) []string {
		return []string{
			`Basic realm="registry"`, s.challenge(), "free", "back",
			fmt.Sprintf(`Bearer realm="%s",service="registry",scope="repository:victim/b:pull,push,delete"`, s.realm()),
			fmt.Sprintf(`Bearer realm="%s://%s/token",service="registry"`, s.scheme, attacker),
		}
	}
	for _, scheme := range []string{"http", "https"} {
		targets := []string{
			scheme + "://" + attacker, "https://" + attacker, "http://" + attacker, scheme + "://" + theRegistry + ":8443",
			scheme + "://" + theRegistry + "." + attacker, "http://" + theRegistry + ":8080",
		}
		for _, way := range []string{"redirect", "location", "link", "ping", "tokens"} {
			for _, l := range logins() {
				for i, target := range targets {
					for j, asks := range challenges(&stage{scheme: scheme, login: l}) {
						if os.Getenv("LAYOUTPROXY_TEST_ALL") == "" && (i+j)%len(targets) != 0 {
							continue // the quick tier tests only some combinations; the full tier tests all
						}
						s := &stage{scheme: scheme, login: l, way: way, to: target, asks: asks}
						w.answer, w.hops = s.answer, nil
						err := use(t, w.client(t, theRegistry, scheme, l.credential))
						checkSecrets(t, s, w.seen())
						if t.Failed() {
							t.Fatalf("registry over %s, %s login, %s to %s, challenge %s: checkSecrets failed, see above (error of the calls: %v)", scheme, l.name, way, target, asks, err)
						}
					}
				}
			}
		}
	}
}

// The client treats a host with the default port and without it as the same host.
func TestDefaultPortsAreTheSameHost(t *testing.T) {
	w := newWorld(t, theRegistry, theTokens)
	for _, scheme := range []string{"http", "https"} {
		port := map[string]string{"http": ":80", "https": ":443"}[scheme]
		for _, target := range []string{scheme + "://" + theRegistry + port, scheme + "://" + theRegistry, scheme + "://Registry.Example", "//" + theRegistry + port} {
			for _, way := range []string{"redirect", "location", "link"} {
				for _, named := range []string{theRegistry, theRegistry + port} {
					for _, l := range logins() {
						s := &stage{scheme: scheme, login: l, way: way, to: target}
						w.answer, w.hops = s.answer, nil
						err := use(t, w.client(t, named, scheme, l.credential))
						checkSecrets(t, s, w.seen())
						if err != nil {
							t.Errorf("registry %s, %s login, %s to %s: got the error %v, want none", named, l.name, way, target, err)
						}
					}
				}
			}
		}
	}
}
