package doctor_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/doctor"
)

func login(user, password string) client.Options {
	return client.Options{Credential: client.Credential{Username: user, Password: password, Source: "a test"}}
}

// guarded returns a handler that passes a request to h if in reports that the request has a valid
// login. It answers all other requests with 401 and the challenge.
func guarded(h http.Handler, challenge string, in func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if in(req) {
			h.ServeHTTP(w, req)
			return
		}
		w.Header().Set("WWW-Authenticate", challenge)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
	})
}

func basic(req *http.Request) bool {
	user, password, _ := req.BasicAuth()
	return user == "node" && password == "secret"
}

func TestBasicLogin(t *testing.T) {
	s := listen(t, guarded(bundle(t), `Basic realm="registry"`, basic))
	o := doctor.Options{URL: s.URL, Image: "app:v1"}
	r := examine(t, o)
	expect(t, r, "credentials", doctor.Failed, "basic", "--username", "imagePullSecret")
	expect(t, r, "tag", doctor.Skipped, "depends on credentials")

	// Without an image, the missing login is only a warning: health checks work without a login.
	expect(t, examine(t, doctor.Options{URL: s.URL}), "credentials", doctor.Warning, "--username")

	o.Client = login("node", "guess")
	r = examine(t, o)
	expect(t, r, "credentials", doctor.Failed, "a test", "401", "who are you")

	o.Client = login("node", "secret")
	r = examine(t, o)
	expect(t, r, "credentials", doctor.OK, "a test")
	expect(t, r, "blob", doctor.OK)
	if text, err := json.Marshal(r); err != nil || strings.Contains(string(text), "secret") {
		t.Errorf("the report is %s (error %v), want it without the password", text, err)
	}

	t.Setenv("REGISTRY_AUTH_FILE", write(t, "config.json", []byte("{")))
	o.Client = client.Options{Keychain: client.NewKeychain()}
	expect(t, examine(t, o), "credentials", doctor.Failed, "config.json", "--username")
}

func TestTokenLogin(t *testing.T) {
	h := bundle(t)
	mux := http.NewServeMux()
	s := listen(t, mux)
	mux.HandleFunc("/token", func(w http.ResponseWriter, req *http.Request) {
		if err := req.ParseForm(); err != nil {
			t.Error(err)
		}
		q := req.URL.Query()
		if req.Method == http.MethodPost {
			q = req.PostForm
		}
		switch {
		case !basic(req) && q.Get("refresh_token") != "identity":
			http.Error(w, "no", http.StatusUnauthorized)
		case q.Get("service") != "the registry" || q.Get("scope") != "repository:app:pull":
			http.Error(w, "what?", http.StatusBadRequest)
		default:
			w.Write([]byte(`{"access_token":"t0ken"}`))
		}
	})
	mux.Handle("/", guarded(h, `Bearer realm="`+s.URL+`/token",service="the registry"`, func(req *http.Request) bool {
		return req.Header.Get("Authorization") == "Bearer t0ken"
	}))
	o := doctor.Options{URL: s.URL, Image: "app:v1"}
	expect(t, examine(t, o), "credentials", doctor.Failed, "a login is required (bearer)")
	o.Client = login("node", "guess")
	expect(t, examine(t, o), "credentials", doctor.Failed, "the token server", "401", `user "node"`)
	o.Client = login("node", "secret")
	expect(t, examine(t, o), "blob", doctor.OK)
	for _, l := range []client.Credential{{IdentityToken: "identity"}, {RegistryToken: "t0ken"}} {
		l.Source = "a helper"
		o.Client = client.Options{Credential: l}
		r := examine(t, o)
		expect(t, r, "credentials", doctor.OK, "a helper")
		expect(t, r, "blob", doctor.OK)
	}
	o.Client = login("node", "secret")
	o.Image = ""
	expect(t, examine(t, o), "credentials", doctor.Failed, "400")
}

// A token is valid only for the repositories in its scope (distribution/distribution,
// docs/content/spec/auth/scope.md), so library/NAME needs another token than NAME. Not every registry answers
// 404 for NAME: Docker Hub answers 401 if a repository does not exist (distribution/distribution issue 1291),
// and distribution as its proxy may answer 500 (distribution/distribution-library-image issue 146).
func TestTokenForOfficialImage(t *testing.T) {
	h := bundle(t)
	for _, status := range []int{http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError} {
		mux := http.NewServeMux()
		s := listen(t, mux)
		mux.HandleFunc("/token", func(w http.ResponseWriter, req *http.Request) {
			fmt.Fprintf(w, `{"token":%q}`, req.URL.Query().Get("scope"))
		})
		mux.Handle("/", guarded(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			path, official := strings.CutPrefix(req.URL.Path, "/v2/library/busybox/")
			switch {
			case official && req.Header.Get("Authorization") == "Bearer repository:library/busybox:pull":
				req.URL.Path = "/v2/app/" + path
				h.ServeHTTP(w, req)
			case req.URL.Path == "/v2/":
				h.ServeHTTP(w, req)
			default:
				w.WriteHeader(status)
			}
		}), `Bearer realm="`+s.URL+`/token",service="the registry"`, func(req *http.Request) bool {
			return req.Header.Get("Authorization") != ""
		}))
		r := examine(t, doctor.Options{URL: s.URL, Image: "busybox:v1", Client: login("node", "secret")})
		expect(t, r, "tag", doctor.OK, "library/busybox:v1 is sha256:")
		expect(t, r, "blob", doctor.OK)
		digest, _, _ := strings.Cut(step(t, r, "manifest").Detail, ",")
		r = examine(t, doctor.Options{URL: s.URL, Image: "busybox@" + digest, Client: login("node", "secret")})
		expect(t, r, "manifest", doctor.OK)
		expect(t, r, "blob", doctor.OK)
	}
}

func TestUnsupportedChallenges(t *testing.T) {
	for challenge, word := range map[string]string{
		"":                                "offers neither Basic nor Bearer",
		"Negotiate":                       "Negotiate",
		"Bearer service=\"a\"":            "unsupported URL",
		"Bearer realm=\"http://\"":        "unsupported URL",
		"Bearer realm=\"http://[::1]:1\"": "--allow-private-redirects",
	} {
		s := listen(t, guarded(http.NotFoundHandler(), challenge, func(*http.Request) bool { return false }))
		expect(t, examine(t, doctor.Options{URL: s.URL, Client: login("a", "b")}), "credentials", doctor.Failed, word)
	}
}

func TestSeveralChallenges(t *testing.T) {
	for _, challenges := range [][]string{{"Negotiate", `Basic realm="registry"`}, {`Negotiate, Basic realm="a, b"`}} {
		h := bundle(t)
		s := listen(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if basic(req) {
				h.ServeHTTP(w, req)
				return
			}
			w.Header()["Www-Authenticate"] = challenges
			w.WriteHeader(http.StatusUnauthorized)
		}))
		expect(t, examine(t, doctor.Options{URL: s.URL, Image: "app:v1", Client: login("node", "secret")}), "blob", doctor.OK)
	}
}

func TestLoginIsNotSentElsewhere(t *testing.T) {
	var asked, leaked atomic.Int64
	elsewhere := listen(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked.Add(1)
		if req.Header.Get("Authorization") != "" {
			leaked.Add(1)
		}
		w.Write([]byte(`{"token":"t0ken"}`))
	}))
	s := listen(t, guarded(bundle(t), `Bearer realm="`+elsewhere.URL+`/token"`, func(*http.Request) bool { return false }))
	o := doctor.Options{URL: s.URL, Image: "app:v1", Client: login("node", "secret")}
	expect(t, examine(t, o), "credentials", doctor.Failed, "private address", "--allow-private-redirects")
	if asked.Load() != 0 {
		t.Error("a token server at another private address got a request, want none without AllowPrivateRedirects")
	}
	o.Client.AllowPrivateRedirects = true
	examine(t, o)
	if leaked.Load() == 0 {
		t.Error("with AllowPrivateRedirects, the token server got no login, want one")
	}
	leaked.Store(0)
	h := bundle(t)
	s = listen(t, guarded(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.Contains(req.URL.Path, "/blobs/") {
			http.Redirect(w, req, elsewhere.URL, http.StatusTemporaryRedirect)
			return
		}
		h.ServeHTTP(w, req)
	}), `Basic realm="registry"`, basic))
	o.URL, o.Client = s.URL, login("node", "secret")
	before := asked.Load()
	expect(t, examine(t, o), "blob", doctor.Failed)
	if asked.Load() == before || leaked.Load() != 0 {
		t.Errorf("the redirect target got %d requests, %d of them with the login; want at least one redirect, and no login", asked.Load()-before, leaked.Load())
	}
}

func TestTokenServerNeedsTLS(t *testing.T) {
	a := newAuthority(t)
	s := httptest.NewUnstartedServer(guarded(http.NotFoundHandler(), `Bearer realm="http://tokens.example/token"`, func(*http.Request) bool { return false }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, a, nil)}}
	s.StartTLS()
	t.Cleanup(s.Close)
	o := doctor.Options{URL: s.URL, Client: login("node", "secret")}
	o.Client.CAFile = a.file
	expect(t, examine(t, o), "credentials", doctor.Failed, "from TLS to plain HTTP")
}
