package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/sirupsen/logrus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry"
	"github.com/layoutproxy/layoutproxy/registry/auth"
	"github.com/layoutproxy/layoutproxy/registry/auth/tokentest"
)

func entry(t testing.TB, user, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return user + ":" + string(h) + "\n"
}

// guarded returns a handler that answers authorized requests with 204, and a recorder of the log
// entries of its access controller.
func guarded(t testing.TB, o auth.Options) (http.Handler, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	o.Log, o.Scope = zap.New(core), registry.Scope
	h, err := auth.New(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), o)
	if err != nil {
		t.Fatal(err)
	}
	return h, logs
}

// write writes a file. It sets the modification time from the test's clock, which may differ from
// the file system's clock.
func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := os.Chtimes(file, now, now); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func ask(h http.Handler, method, path, authorization string) *http.Response {
	req := httptest.NewRequest(method, path, nil)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Result()
}

func basic(user, password string) string {
	req := http.Request{Header: http.Header{}}
	req.SetBasicAuth(user, password)
	return req.Header.Get("Authorization")
}

func refused(t *testing.T, what string, resp *http.Response, challenge string) {
	t.Helper()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s: %s, want 401", what, resp.Status)
	}
	if got := resp.Header.Get("WWW-Authenticate"); got != challenge {
		t.Errorf("%s: challenge %q, want %q", what, got, challenge)
	}
	if resp.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
		t.Errorf("%s: the answer has the headers %v, want an API version", what, resp.Header)
	}
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || len(body.Errors) != 1 || body.Errors[0].Code != "UNAUTHORIZED" {
		t.Errorf("%s: body %v, %v", what, body, err)
	}
}

func TestPasswordLogin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	write(t, file, entry(t, "ann", "päss: word")+entry(t, "bob", ""))
	h, logs := guarded(t, auth.Options{Htpasswd: file})
	const challenge = `Basic realm="layoutproxy"`
	for _, path := range []string{"/v2", "/v2/", "/v2/_catalog", "/v2/a/tags/list", "/v2/a/manifests/v1", "/mirror/v2/a/blobs/x", "/", "/metrics", "/healthz"} {
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
			refused(t, method+" "+path, ask(h, method, path, ""), challenge)
		}
		for range 3 { // the first try is checked against the bcrypt hash, the next two against the remembered pair
			if resp := ask(h, "GET", path, basic("ann", "päss: word")); resp.StatusCode != http.StatusNoContent {
				t.Errorf("%s: %s", path, resp.Status)
			}
		}
	}
	for name, a := range map[string]string{
		"a wrong password": basic("ann", "pass"), "no password": basic("ann", ""), "an unknown user": basic("eve", "päss: word"),
		"another's password": basic("bob", "päss: word"), "a token": "Bearer abc", "no base64": "Basic %%%", "nothing": "Basic",
		"the dummy's": basic("", ""),
	} {
		refused(t, name, ask(h, "GET", "/v2/", a), challenge)
	}
	if resp := ask(h, "GET", "/v2/", basic("bob", "")); resp.StatusCode != http.StatusNoContent {
		t.Errorf("a login with an empty password was answered with %s, want 204", resp.Status)
	}
	for _, e := range logs.All() {
		t.Errorf("the log contains the unexpected entry %s %v", e.Message, e.ContextMap())
	}
}

func TestUnusableCredentialFiles(t *testing.T) {
	dir := t.TempDir()
	missing, bad, key := filepath.Join(dir, "missing"), filepath.Join(dir, "bad"), filepath.Join(dir, "key")
	write(t, bad, "ann:secret")
	write(t, key, "{}")
	pipe := filepath.Join(dir, "pipe") // opening a pipe blocks until a writer opens it
	layouttest.Try(t, layouttest.MakePipe(pipe))
	server := tokentest.New(t)
	certs, jwks := server.WriteKeys(dir)
	whole := auth.Token{Realm: "https://tokens.example/token", Service: "s", Issuer: "i", RootCerts: certs, JWKS: jwks}
	with := func(change func(*auth.Token)) auth.Options {
		token := whole
		change(&token)
		return auth.Options{Token: token}
	}
	for name, o := range map[string]auth.Options{
		"missing": {Htpasswd: missing}, "bad": {Htpasswd: bad}, "a directory": {Htpasswd: dir}, "nothing": {},
		"both":                              {Htpasswd: bad, Token: whole},
		"no realm":                          with(func(t *auth.Token) { t.Realm = "" }),
		"an invalid realm":                  with(func(t *auth.Token) { t.Realm = "file:///token" }),
		"no service":                        with(func(t *auth.Token) { t.Service = "" }),
		"no issuer":                         with(func(t *auth.Token) { t.Issuer = "" }),
		"no keys":                           with(func(t *auth.Token) { t.RootCerts, t.JWKS = "", "" }),
		"keys missing":                      with(func(t *auth.Token) { t.JWKS = missing }),
		"a directory instead of a key file": with(func(t *auth.Token) { t.RootCerts, t.JWKS = "", dir }),
		"a pipe instead of a key file":      with(func(t *auth.Token) { t.JWKS = pipe }),
		"keys empty":                        with(func(t *auth.Token) { t.RootCerts, t.JWKS = "", key }),
	} {
		o.Log, o.Scope = zap.NewNop(), registry.Scope
		if _, err := auth.New(http.NotFoundHandler(), o); err == nil {
			t.Errorf("%s: New returned no error, want one", name)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error contains text of the file, want none: %v", name, err)
		}
	}
	if _, err := os.Stat(missing); !os.IsNotExist(err) {
		t.Errorf("Stat of the missing file returned the error %v, want fs.ErrNotExist, because New must not create the file", err)
	}
	o := auth.Options{Token: whole, Log: zap.NewNop(), Scope: registry.Scope}
	if _, err := auth.New(http.NotFoundHandler(), o); err != nil {
		t.Errorf("whole: %v", err)
	}
}

// When a file is truncated, a file system may update the size before the modification time. So an
// empty file may still have the modification time of its last valid content. Even then, the empty
// content must not be used.
func TestHtpasswdTruncatedBeforeNewTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "htpasswd")
		write(t, file, entry(t, "ann", "a")+entry(t, "bob", "b"))
		h, _ := guarded(t, auth.Options{Htpasswd: file})
		old := time.Now()
		time.Sleep(time.Hour)
		for _, text := range []string{"", entry(t, "ann", "a")} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, old, old); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if got := ask(h, "GET", "/v2/", basic("bob", "b")).StatusCode; got != http.StatusNoContent {
					t.Fatalf("with the content %q in the middle of a write, a valid user got status %d, want 204", text, got)
				}
				time.Sleep(300 * time.Millisecond)
			}
		}
		write(t, file, entry(t, "ann", "a"))
		time.Sleep(2 * time.Second)
		if got := ask(h, "GET", "/v2/", basic("bob", "b")).StatusCode; got != http.StatusUnauthorized {
			t.Errorf("after the write, the removed user got status %d, want 401", got)
		}
	})
}

// Under load, the file is replaced, overwritten step by step, broken, emptied and removed. A user
// who stays in the file can always pull. A user who was removed cannot pull after two seconds.
func TestHtpasswdChangesUnderLoad(t *testing.T) { synctest.Test(t, htpasswdChangesUnderLoad) }

func htpasswdChangesUnderLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "htpasswd")
	ann, bob := entry(t, "ann", "a"), entry(t, "bob", "b")
	write(t, file, bob+ann)
	h, logs := guarded(t, auth.Options{Htpasswd: file})
	may := func(user, password string) bool {
		return ask(h, "GET", "/v2/", basic(user, password)).StatusCode == http.StatusNoContent
	}
	var asked, failed atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond): // this pause limits the request rate; it costs no real time, because the test's clock is fake
				}
				asked.Add(1)
				if !may("ann", "a") {
					failed.Add(1)
				}
			}
		})
	}
	swap := func(text string) {
		write(t, file+".new", text)
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	// counts checks that a change takes effect within two seconds and remains in effect: bob may
	// pull if want is true.
	counts := func(what string, want bool) {
		t.Helper()
		time.Sleep(2 * time.Second)
		for range 3 {
			if may("bob", "b") != want {
				t.Errorf("%s: bob may pull: %v, want %v", what, !want, want)
			}
		}
	}
	if !may("bob", "b") {
		t.Error("bob cannot pull before the first change, want success")
	}
	swap(ann)
	counts("file replaced by one without bob", false)
	swap(ann + bob)
	counts("file replaced by one with bob", true)

	// The file is overwritten in place. Parts may end in the middle of a line.
	write(t, file, "")
	time.Sleep(100 * time.Millisecond)
	write(t, file, bob)
	time.Sleep(100 * time.Millisecond)
	write(t, file, bob+ann[:30])
	time.Sleep(1500 * time.Millisecond) // like a writer that hangs
	if !may("bob", "b") {
		t.Error("while the file is half written, bob cannot pull, want the last valid content in effect")
	}
	write(t, file, ann)
	counts("file overwritten without bob", false)

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond)
	swap(ann + bob)
	counts("file restored after its removal", true)

	close(stop)
	load.Wait()
	if failed.Load() != 0 || asked.Load() < 100 {
		t.Errorf("for a user who may pull, %d of %d requests failed, want 0 of at least 100", failed.Load(), asked.Load())
	}
	t.Logf("%d requests, %d failed", asked.Load(), failed.Load())
	for _, e := range logs.All() {
		if text := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(text, "$2") || strings.Contains(text, "ann:") || strings.Contains(text, "bob") {
			t.Errorf("logged: %s", text)
		}
	}
	// If the file lists no users, nobody may pull.
	swap("# nobody\n")
	time.Sleep(2 * time.Second)
	if may("ann", "a") || may("bob", "b") {
		t.Error("a user can log in although the file is without users, want 401")
	}
}

func TestOldChangeAppliesToNextRequest(t *testing.T) { synctest.Test(t, oldChangeAtFirstRequest) }

func oldChangeAtFirstRequest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	write(t, file, entry(t, "ann", "a"))
	h, _ := guarded(t, auth.Options{Htpasswd: file})
	if resp := ask(h, "GET", "/v2/", basic("ann", "a")); resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp.Status)
	}
	write(t, file, entry(t, "bob", "b"))
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	time.Sleep(600 * time.Millisecond) // wait until the next check of the file is overdue
	var clients sync.WaitGroup
	for range 20 { // while one of the concurrent requests reads the new content, no other request may use the old content
		clients.Go(func() {
			if resp := ask(h, "GET", "/v2/", basic("ann", "a")); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("a removed user got %s, want 401", resp.Status)
			}
		})
	}
	clients.Wait()
}

func TestTokenLogin(t *testing.T) {
	// The controller must not log why it refused a token, because the reason contains the client's
	// text.
	var controllerLog strings.Builder
	logrus.SetLevel(logrus.InfoLevel)
	logrus.SetOutput(&controllerLog)
	defer logrus.SetOutput(os.Stderr)
	server := tokentest.New(t)
	certs, jwks := server.WriteKeys(t.TempDir())
	challenge := func(rest string) string {
		return `Bearer realm="https://tokens.example/token",service="layoutproxy.example"` + rest
	}
	for name, o := range map[string]auth.Token{"by certificate": {RootCerts: certs}, "by JWKS": {JWKS: jwks}} {
		t.Run(name, func(t *testing.T) {
			o.Realm, o.Service, o.Issuer = "https://tokens.example/token", server.Service, server.Issuer
			h, _ := guarded(t, auth.Options{Token: o})
			pull := `,scope="repository:a/b:pull"`
			refused(t, "the base", ask(h, "GET", "/v2/", ""), challenge(""))
			refused(t, "a manifest", ask(h, "GET", "/v2/a/b/manifests/v1", ""), challenge(pull))
			refused(t, "a path with a prefix", ask(h, "HEAD", "/mirror/v2/a/b/blobs/x", ""), challenge(pull))
			refused(t, "a push", ask(h, "PUT", "/v2/a/b/manifests/v1", ""), challenge(pull))
			refused(t, "tags", ask(h, "GET", "/v2/a/b/tags/list", ""), challenge(pull))
			refused(t, "referrers", ask(h, "GET", "/v2/a/b/referrers/sha256:0", ""), challenge(pull))
			refused(t, "the catalog", ask(h, "GET", "/v2/_catalog", ""), challenge(`,scope="registry:catalog:*"`))
			refused(t, "an illegal name", ask(h, "GET", `/v2/A"B/manifests/v1`, ""), challenge(""))
			good := "Bearer " + server.Token(server.Claims("ann", "repository:a/b:pull"))
			for _, path := range []string{"/v2/", "/v2/a/b/manifests/v1", "/v2/a/b/tags/list"} {
				if resp := ask(h, "GET", path, good); resp.StatusCode != http.StatusNoContent {
					t.Errorf("%s: %s", path, resp.Status)
				}
			}
			insufficient := `,error="insufficient_scope"`
			refused(t, "another repository", ask(h, "GET", "/v2/a/c/manifests/v1", good), challenge(`,scope="repository:a/c:pull"`+insufficient))
			refused(t, "the catalog", ask(h, "GET", "/v2/_catalog", good), challenge(`,scope="registry:catalog:*"`+insufficient))
			refused(t, "a password", ask(h, "GET", "/v2/", basic("ann", "a")), challenge(""))
			badTokens(t, h, server, challenge(pull))
		})
	}
	if controllerLog.Len() > 0 {
		t.Errorf("the controller logged refused tokens, want nothing: %s", controllerLog.String())
	}
}

// badTokens checks that the handler refuses invalid tokens, each with a single fault.
func badTokens(t *testing.T, h http.Handler, server *tokentest.Server, challenge string) {
	other := tokentest.New(t)
	claims := func(change func(*token.ClaimSet)) string {
		c := server.Claims("ann", "repository:a/b:pull")
		change(&c)
		return server.Token(c)
	}
	good := claims(func(*token.ClaimSet) {})
	for name, raw := range map[string]string{
		"signed with another key":     other.Token(server.Claims("ann", "repository:a/b:pull")),
		"from another issuer":         claims(func(c *token.ClaimSet) { c.Issuer = "eve" }),
		"for another service":         claims(func(c *token.ClaimSet) { c.Audience = []string{"other"} }),
		"expired":                     claims(func(c *token.ClaimSet) { c.Expiration = time.Now().Add(-2 * time.Minute).Unix() }),
		"of tomorrow":                 claims(func(c *token.ClaimSet) { c.NotBefore = time.Now().Add(time.Hour).Unix() }),
		"changed":                     good[:len(good)-8] + "AAAAAAAA",
		"half":                        good[:len(good)/2],
		"nonsense":                    "abc",
		"signed with a shared secret": symmetric(t),
	} {
		resp := ask(h, "GET", "/v2/a/b/manifests/v1", "Bearer "+raw)
		if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), challenge) {
			t.Errorf("a token %s was answered with %s and the challenge %q, want 401 and %q", name, resp.Status, resp.Header.Get("WWW-Authenticate"), challenge)
		}
	}
}

// symmetric returns a token that is signed with a shared secret.
func symmetric(t *testing.T) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("k", 32))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(token.ClaimSet{}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTokenKeysAreReloaded(t *testing.T) { synctest.Test(t, tokenKeysReadAgain) }

func tokenKeysReadAgain(t *testing.T) {
	dir := t.TempDir()
	old, next := tokentest.New(t), tokentest.New(t)
	_, jwks := old.WriteKeys(dir)
	h, _ := guarded(t, auth.Options{Token: auth.Token{Realm: "https://tokens.example/", Service: old.Service, Issuer: old.Issuer, JWKS: jwks}})
	status := func(s *tokentest.Server) int {
		return ask(h, "GET", "/v2/", "Bearer "+s.Token(s.Claims("ann"))).StatusCode
	}
	if status(old) != http.StatusNoContent || status(next) != http.StatusUnauthorized {
		t.Fatalf("%d, %d", status(old), status(next))
	}
	write(t, jwks, "{")
	time.Sleep(1500 * time.Millisecond)
	if status(old) != http.StatusNoContent {
		t.Error("while the file of keys is broken, a token of its last valid keys is refused, want 204")
	}
	next.WriteKeys(dir)
	write(t, jwks, read(t, jwks))
	time.Sleep(2 * time.Second)
	if status(old) != http.StatusUnauthorized || status(next) != http.StatusNoContent {
		t.Errorf("after the change, a token of the old key got status %d, and a token of the new key %d, want 401 and 204", status(old), status(next))
	}
}

// A request is authorized only if the credentials in its header are valid.
func FuzzAuthorization(f *testing.F) {
	dir := f.TempDir()
	file := filepath.Join(dir, "htpasswd")
	write(f, file, entry(f, "ann", "a"))
	byPassword, _ := guarded(f, auth.Options{Htpasswd: file})
	server := tokentest.New(f)
	certs, jwks := server.WriteKeys(dir)
	byToken, _ := guarded(f, auth.Options{Token: auth.Token{Realm: "https://tokens.example/", Service: server.Service, Issuer: server.Issuer, RootCerts: certs, JWKS: jwks}})
	good := "Bearer " + server.Token(server.Claims("ann", "repository:a:pull"))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	embedded, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		f.Fatal(err)
	}
	stranger, err := jwt.Signed(embedded).Claims(server.Claims("ann", "repository:a:pull")).Serialize()
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "Basic", basic("ann", "a"), basic("ann", "b"), good, good[:len(good)-3], "Bearer " + stranger, "bearer\x00", "Bearer a.b.c", "Basic =="} {
		f.Add(s, "/v2/a/manifests/v1")
	}
	f.Add("", "/v2/%2e%2e/\"\r\n/tags/list")
	f.Fuzz(func(t *testing.T, authorization, path string) {
		req := httptest.NewRequest("GET", "/", nil)
		req.URL.Path = path
		req.Header["Authorization"] = []string{authorization}
		for name, h := range map[string]http.Handler{"password": byPassword, "token": byToken} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			user, password, _ := req.BasicAuth()
			right := name == "password" && user == "ann" && password == "a" ||
				name == "token" && strings.EqualFold(authorization[:min(7, len(authorization))], "bearer ") && authorization[min(7, len(authorization)):] == good[7:]
			if w.Code == http.StatusNoContent && !right {
				t.Fatalf("the %s handler authorized the header %q, want 401", name, authorization)
			}
			if w.Code != http.StatusNoContent && (w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "") {
				t.Fatalf("%s handler, header %q: got status %d and the challenge %q, want 401 with a challenge, or 204", name, authorization, w.Code, w.Header().Get("WWW-Authenticate"))
			}
			if strings.ContainsAny(w.Header().Get("WWW-Authenticate"), "\r\n") {
				t.Fatalf("the challenge %q contains a line break, want none", w.Header().Get("WWW-Authenticate"))
			}
		}
	})
}
