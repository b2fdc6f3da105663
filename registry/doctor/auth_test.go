package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/registry/doctor"
)

func login(user, password string) func(context.Context, string, string) (doctor.Login, error) {
	return func(context.Context, string, string) (doctor.Login, error) {
		return doctor.Login{User: user, Password: password, Source: "a test"}, nil
	}
}

// guarded lets in who shows a header, and challenges all others.
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

func TestBasic(t *testing.T) {
	s := listen(t, guarded(bundle(t), `Basic realm="registry"`, basic))
	o := doctor.Options{URL: s.URL, Image: "app:v1"}
	r := examine(t, o)
	expect(t, r, "credentials", doctor.Failed, "Basic", "--username", "imagePullSecret")
	expect(t, r, "tag", doctor.Skipped, "rests on credentials")

	// A health check has no login, and need not have one.
	expect(t, examine(t, doctor.Options{URL: s.URL}), "credentials", doctor.Warning, "--username")

	o.Credentials = login("node", "guess")
	r = examine(t, o)
	expect(t, r, "credentials", doctor.Failed, "a test", "401", "who are you")

	o.Credentials = login("node", "secret")
	r = examine(t, o)
	expect(t, r, "credentials", doctor.OK, "a test")
	expect(t, r, "blob", doctor.OK)
	if text, err := json.Marshal(r); err != nil || strings.Contains(string(text), "secret") {
		t.Errorf("%s, %v", text, err)
	}

	o.Credentials = func(context.Context, string, string) (doctor.Login, error) {
		return doctor.Login{}, errors.New("config.json: line 3")
	}
	expect(t, examine(t, o), "credentials", doctor.Failed, "config.json: line 3", "--username")
}

func TestToken(t *testing.T) {
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
	expect(t, examine(t, o), "credentials", doctor.Failed, "asks for a login (Bearer)")
	o.Credentials = login("node", "guess")
	expect(t, examine(t, o), "credentials", doctor.Failed, "the token server", "401")
	o.Credentials = login("node", "secret")
	expect(t, examine(t, o), "blob", doctor.OK)
	for _, l := range []doctor.Login{{IdentityToken: "identity"}, {RegistryToken: "t0ken"}} {
		l.Source = "a helper"
		o.Credentials = func(context.Context, string, string) (doctor.Login, error) { return l, nil }
		r := examine(t, o)
		expect(t, r, "credentials", doctor.OK, "a helper")
		expect(t, r, "blob", doctor.OK)
	}
	o.Credentials = login("node", "secret")
	o.Image = ""
	expect(t, examine(t, o), "credentials", doctor.Failed, "400")
}

func TestStrangeChallenges(t *testing.T) {
	for challenge, word := range map[string]string{
		"":                                "not known",
		"Negotiate":                       "Negotiate",
		"Bearer service=\"a\"":            "no token server",
		"Bearer realm=\"http://\"":        "no token server",
		"Bearer realm=\"http://[::1]:1\"": "token server",
	} {
		s := listen(t, guarded(http.NotFoundHandler(), challenge, func(*http.Request) bool { return false }))
		expect(t, examine(t, doctor.Options{URL: s.URL, Credentials: login("a", "b")}), "credentials", doctor.Failed, word)
	}
}
