package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/reload"
)

func TestUnknownUserWithPasswordOfDummyHash(t *testing.T) {
	value, err := reload.New(reload.Options[users]{Read: func() (users, error) {
		return users{hashes: map[string][]byte{"ann": []byte(hash(t, "a"))}, dummy: []byte(hash(t, "dummy"))}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := &passwords{users: value, slots: make(chan struct{}, 1)}
	for range 2 {
		req := httptest.NewRequest(http.MethodGet, "/v2/", nil)
		req.SetBasicAuth("eve", "dummy")
		var challenge auth.Challenge
		if grant, err := p.Authorized(req); !errors.As(err, &challenge) {
			t.Errorf("%v, %v", grant, err)
		}
	}
}

// The dummy hash costs as much as the most expensive hash in the file.
func TestDummyHashCost(t *testing.T) {
	expensive, err := bcrypt.GenerateFromPassword([]byte("b"), bcrypt.MinCost+1)
	if err != nil {
		t.Fatal(err)
	}
	cheap := hash(t, "a")
	u, err := parseUsers([]byte("a:" + strings.Replace(cheap, "$2a$", "$2b$", 1) + "\nb:" + string(expensive) + "\nc:" + strings.Replace(cheap, "$2a$", "$2y$", 1) + "\n"))
	if err != nil || len(u.hashes) != 3 {
		t.Fatalf("%v: %v", u, err)
	}
	if cost, err := bcrypt.Cost(u.dummy); err != nil || cost != bcrypt.MinCost+1 {
		t.Errorf("the dummy hash has the cost %d (error %v), want %d", cost, err, bcrypt.MinCost+1)
	}
	// The password of an unknown user is compared with the dummy hash.
	if stranger, known := u.hashOf("stranger"); known || string(stranger) != string(u.dummy) {
		t.Errorf("hashOf an unknown user = %q, %v; want the dummy hash and false", stranger, known)
	}
	if of, known := u.hashOf("b"); !known || string(of) != string(expensive) {
		t.Errorf("hashOf a known user = %q, %v; want the user's own hash and true", of, known)
	}
	if _, err := parseUsers([]byte("a:$2a$xx$" + strings.Repeat("A", 53))); err == nil || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("parseUsers with a malformed cost returned the error %v, want one with the word malformed", err)
	}
}

// The keys of two pairs differ, and so do the keys of two processes for the same pair.
func TestKeysOfRememberedPairs(t *testing.T) {
	var p, other passwords
	other.secret[0] = 1
	h := []byte(hash(t, "a"))
	if p.key("x"+string(h)+"p", "q", h) == p.key("x", "p"+string(h)+"q", h) {
		t.Error("two pairs have the same key, want different ones")
	}
	if p.key("x", "p", h) == other.key("x", "p", h) {
		t.Error("two secrets give the same key, want different ones")
	}
	if p.key("x", "p", h) == p.key("x", "p", []byte(hash(t, "b"))) {
		t.Error("two hashes of a user give the same key, want different ones")
	}
	if p.key("x", "p", h) == p.key("y", "p", h) {
		t.Error("two users with the same hash have the same key, want different ones")
	}
}

func TestHighestBcryptCost(t *testing.T) {
	form := "$2a$%02d$" + strings.Repeat("A", 53)
	if cost, err := checkHash(fmt.Sprintf(form, maxCost)); cost != maxCost || err != nil {
		t.Errorf("%d, %v", cost, err)
	}
	if _, err := checkHash(fmt.Sprintf(form, maxCost+1)); err == nil || !strings.Contains(err.Error(), "seconds") {
		t.Errorf("%v", err)
	}
}

func TestHtpasswdWithoutUsersIsLogged(t *testing.T) {
	dir := t.TempDir()
	for content, lines := range map[string]int{"# nobody\n": 1, "ann:" + hash(t, "a"): 0, "ann": 0} {
		file := filepath.Join(dir, "htpasswd")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		core, log := observer.New(zap.WarnLevel)
		if _, err := newPasswords(file, zap.New(core)); (err != nil) != (content == "ann") {
			t.Errorf("%q: %v", content, err)
		}
		if log.Len() != lines {
			t.Errorf("%q: %v", content, log.All())
		}
	}
}

func TestExpiredPairsAreForgottenFirst(t *testing.T) {
	r := remembered{ends: map[[32]byte]time.Time{}}
	live := [32]byte{0: 255}
	r.add(live)
	for i := range maxRemembered {
		r.ends[[32]byte{1: byte(i), 2: byte(i >> 8)}] = time.Now().Add(-time.Hour)
	}
	r.add([32]byte{0: 254})
	if !r.contains(live) || !r.contains([32]byte{0: 254}) || len(r.ends) != 2 {
		t.Errorf("%d pairs are remembered, the valid one among them: %v; want 2 pairs, and the valid one among them", len(r.ends), r.contains(live))
	}
}

func TestTokenOptionErrors(t *testing.T) {
	good := Token{Realm: "https://tokens.example/token", Service: "s", Issuer: "i", JWKS: "keys"}
	for name, c := range map[string]struct {
		change func(*Token)
		want   string // part of the expected error; empty if no error is expected
	}{
		"complete":     {func(*Token) {}, ""},
		"plain HTTP":   {func(o *Token) { o.Realm = "http://tokens.example" }, ""},
		"certificates": {func(o *Token) { o.JWKS, o.RootCerts = "", "certs" }, ""},
		"no keys":      {func(o *Token) { o.JWKS = "" }, "root certificates or a JWKS"},
		"no service":   {func(o *Token) { o.Service = "" }, "needs a realm, a service and an issuer"},
		"no issuer":    {func(o *Token) { o.Issuer = "" }, "needs a realm, a service and an issuer"},
		"no realm":     {func(o *Token) { o.Realm = "" }, "needs a realm, a service and an issuer"},
		"no scheme":    {func(o *Token) { o.Realm = "tokens.example" }, "is not an http or https URL"},
		"other scheme": {func(o *Token) { o.Realm = "ftp://tokens.example" }, "is not an http or https URL"},
		"no host":      {func(o *Token) { o.Realm = "https:///token" }, "is not an http or https URL"},
		"no URL":       {func(o *Token) { o.Realm = "http://[" }, "is not an http or https URL"},
	} {
		o := good
		c.change(&o)
		if err := o.Check(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := newTokens(o, zap.NewNop()); err == nil {
			t.Errorf("%s: newTokens returned no error, want one, because the files are missing", name)
		}
	}
}

// If a client disconnects while its login waits, the login returns the context's error, and the
// password is neither accepted nor refused.
func TestClientDisconnectsWhileWaiting(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	layouttest.WriteFile(t, file, "ann:"+hash(t, "secret")+"\n")
	p, err := newPasswords(file, zap.NewNop())
	layouttest.Try(t, err)
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	req := httptest.NewRequestWithContext(ctx, "GET", "/v2/", nil)
	req.SetBasicAuth("ann", "secret")
	if grant, err := p.Authorized(req); grant != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", grant, err)
	}
	for range cap(p.slots) {
		<-p.slots
	}
	req = httptest.NewRequestWithContext(t.Context(), "GET", "/v2/", nil)
	req.SetBasicAuth("ann", "secret")
	if grant, err := p.Authorized(req); grant == nil || err != nil {
		t.Errorf("%v, %v", grant, err)
	}
}

func TestNewRequiresHandlerScopeAndLog(t *testing.T) {
	next := http.NotFoundHandler()
	scope := func(*http.Request) (kind, name string) { return "", "" }
	for _, missing := range []int{0, 1, 2} {
		h, o := next, Options{Htpasswd: "x", Scope: scope, Log: zap.NewNop()}
		switch missing {
		case 0:
			h = nil
		case 1:
			o.Scope = nil
		case 2:
			o.Log = nil
		}
		if _, err := New(h, o); err == nil || !strings.Contains(err.Error(), "needs a handler") {
			t.Errorf("%d: %v", missing, err)
		}
	}
}

type failing struct{ error }

func (f failing) Authorized(*http.Request, ...auth.Access) (*auth.Grant, error) { return nil, f.error }

// If the registry is busy, Retry-After tells the client when to retry. If the request has a body,
// the connection is closed.
func TestErrorAnswers(t *testing.T) {
	scope := func(*http.Request) (kind, name string) { return "", "" }
	for _, c := range []struct {
		err                            error
		body                           string
		retry, connection, challenging string
		status                         int
	}{
		{errBusy, "", "1", "", "", http.StatusTooManyRequests},
		{errors.New("gone"), "", "", "", "", http.StatusTooManyRequests},
		{basicChallenge{auth.ErrInvalidCredential}, "x", "", "close", `Basic realm="layoutproxy"`, http.StatusUnauthorized},
	} {
		w := httptest.NewRecorder()
		g := &guard{options: Options{Scope: scope}, controller: failing{c.err}}
		g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/", strings.NewReader(c.body)))
		h := w.Header()
		if w.Code != c.status || h.Get("Retry-After") != c.retry || h.Get("Connection") != c.connection || h.Get("WWW-Authenticate") != c.challenging {
			t.Errorf("error %v: got status %d and the headers %v, want %+v", c.err, w.Code, h, c)
		}
		// With Options.Refuse, the answer has the same headers.
		w = httptest.NewRecorder()
		g.options.Refuse = func(w http.ResponseWriter, status int, reason string) { http.Error(w, "no: "+reason, status) }
		g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/", strings.NewReader(c.body)))
		if h = w.Header(); w.Code != c.status || w.Body.String() != "no: "+c.err.Error()+"\n" || h.Get("Retry-After") != c.retry || h.Get("WWW-Authenticate") != c.challenging || h.Get("Docker-Distribution-Api-Version") != "" {
			t.Errorf("error %v, with Refuse: got status %d, the headers %v and the body %q, want %+v, with the error after \"no: \" in the body", c.err, w.Code, h, w.Body, c)
		}
	}
}
