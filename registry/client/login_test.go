package client_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

func private(o *client.Options) { o.AllowPrivateRedirects = true }

func TestBasicLogin(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Basic: true})
	c := dial(t, r, func(o *client.Options) { o.Credential = user })
	image(t, c, "x", "v1")
	for _, req := range r.Requests()[1:] {
		if req.Status == http.StatusUnauthorized {
			t.Errorf("%+v was answered with 401, want a login in every request after the first contact", req.Kind())
		}
	}
	nobody := dial(t, r)
	_, err := nobody.Manifest(t.Context(), "x", "v1")
	if e := failure(t, err, client.ErrUnauthorized); !strings.Contains(e.Error(), "no credentials") {
		t.Errorf("without a login, the error is %v, want \"no credentials\" in it", e)
	}
	wrong := dial(t, r, func(o *client.Options) {
		o.Credential = client.Credential{Username: "user", Password: "wrong-password", Source: "the test"}
	})
	_, err = wrong.Manifest(t.Context(), "x", "v1")
	e := failure(t, err, client.ErrUnauthorized)
	if !strings.Contains(e.Error(), `user "user" from the test`) || strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), "wrong-password") {
		t.Errorf("the error is %v, want the user and the source of the login in it, but not the password", e)
	}
}

func TestTokenLogin(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Token: true})
	c := dial(t, r, private, func(o *client.Options) { o.Credential = user })
	image(t, c, "x", "v1")
	b := noise(3000, 2)
	u := b.upload("y")
	u.From = "x"
	if how := upload(t, c, u, b); how != client.Mounted {
		t.Errorf("the blob was added by %v, want a mount", how)
	}
	want := []string{"repository:x:pull,push", "repository:y:pull,push repository:x:pull", "repository:y:pull,push"}
	if got := r.Tokens.Asked(); !slices.Equal(got, want) {
		t.Errorf("the client requested tokens for %q, want %q", got, want)
	}
	pull := dial(t, r, private, func(o *client.Options) { o.Credential, o.Push = user, false })
	if _, err := pull.Manifest(t.Context(), "x", "v1"); err != nil {
		t.Error(err)
	}
	if got := r.Tokens.Asked(); got[len(got)-1] != "repository:x:pull" {
		t.Errorf("the tokens are for %q, want the last one for pulling from x only", got)
	}
}

func TestExpiredTokens(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Token: true})
	c := dial(t, r, private, func(o *client.Options) { o.Credential = user })
	image(t, c, "x", "v1")
	expired := func(m registrytest.Match) registrytest.Fault {
		return registrytest.Answer(m, 401, fmt.Sprintf(`WWW-Authenticate: Bearer realm="%s/token",service="registry",error="invalid_token"`, r.Tokens.URL))
	}
	for _, kind := range []string{"POST uploads", "PATCH uploads", "PUT uploads"} {
		r.Inject(expired(registrytest.First(1, registrytest.On(kind))))
	}
	b := big()
	before := len(r.Tokens.Asked())
	upload(t, c, b.upload("x"), b)
	if n := len(r.Tokens.Asked()) - before; n != 3 {
		t.Errorf("the client requested %d tokens, want 3", n)
	}
	if sent := float64(c.Stats().Sent) / float64(len(b.data)); sent > 1.1 {
		t.Errorf("the client sent %.2f times the size of the blob, want at most 1.1, because a request with a refused token must send no body", sent)
	}
	r.Inject(expired(registrytest.On("HEAD manifests")))
	_, err := c.HeadManifest(t.Context(), "x", "v1")
	wantCause(t, err, client.ErrUnauthorized)
}

func TestTokenServerRefusals(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Token: true})
	login := func(o *client.Options) { o.Credential = user }
	_, err := dial(t, r, login).Tags(t.Context(), "x")
	if e := failure(t, err, client.ErrPrivate); !strings.Contains(e.Error(), "--allow-private-redirects") {
		t.Errorf("the error is %v, want --allow-private-redirects in it", e)
	}
	wrong := client.Credential{Username: "user", Password: "wrong-password", Source: "the test"}
	_, err = dial(t, r, private, func(o *client.Options) { o.Credential = wrong }).Tags(t.Context(), "x")
	e := failure(t, err, client.ErrUnauthorized)
	if e.Side != client.SideToken || strings.Contains(e.Error(), "wrong-password") || !strings.Contains(e.Error(), `user "user"`) {
		t.Errorf("the error is %v with the side %s, want the side token, and the user but not the password in its text", e, e.Side)
	}
}

func TestIdentityTokenLogin(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Token: true})
	c := dial(t, r, private, func(o *client.Options) {
		o.Credential = client.Credential{IdentityToken: registrytest.Password, Source: "the test"}
	})
	image(t, c, "x", "v1")
}

func authFile(t *testing.T, key, username, password string, elem ...string) string {
	t.Helper()
	pair := base64.StdEncoding.EncodeToString([]byte(username + ":" + password))
	return writeFile(t, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, key, pair), elem...)
}

func TestKeychain(t *testing.T) {
	const host = "registry.example:5000"
	find := func(t *testing.T, repository string) client.Credential {
		t.Helper()
		c, err := client.NewKeychain().Credential(t.Context(), host, repository)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	if c := find(t, "x"); c.Username != "" {
		t.Errorf("without any file, the keychain found %v, want no login", c)
	}
	steps := []struct {
		name string
		make func(t *testing.T)
	}{
		{"podman", func(t *testing.T) { authFile(t, host, "podman", "p", home, ".config/containers/auth.json") }},
		{"runtime", func(t *testing.T) {
			t.Setenv("XDG_RUNTIME_DIR", home)
			authFile(t, host, "runtime", "p", home, "containers/auth.json")
		}},
		{"docker", func(t *testing.T) { authFile(t, "https://"+host+"/v1/", "docker", "p", home, ".docker/config.json") }},
		{"elsewhere", func(t *testing.T) {
			t.Setenv("DOCKER_CONFIG", filepath.Join(home, "elsewhere"))
			authFile(t, host, "elsewhere", "p", home, "elsewhere/config.json")
		}},
		{"file", func(t *testing.T) {
			t.Setenv("REGISTRY_AUTH_FILE", authFile(t, host, "file", "p", home, "auth.json"))
		}},
		{"path", func(t *testing.T) {
			t.Setenv("REGISTRY_AUTH_FILE", authFile(t, host+"/a/b", "path", "p", home, "auth.json"))
		}},
	}
	for _, s := range steps { // each step overrides the earlier ones
		s.make(t)
		if c := find(t, "a/b/c"); c.Username != s.name || c.Password != "p" || c.Source == "" {
			t.Errorf("after the step %s, the keychain found %v, want the login that this step added", s.name, c)
		}
	}
	if c := find(t, "a/bc"); c.Username != "elsewhere" {
		t.Errorf("for a/bc, the keychain found %v, want the login of the host, not the one of a/b", c)
	}
}

func TestKeychainRunsHelpers(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("DOCKER_CONFIG", dir)
	writeFile(t, "#!/bin/sh\nread host\necho run >> "+dir+"/runs\n"+`echo "{\"ServerURL\":\"$host\",\"Username\":\"helped\",\"Secret\":\"s\"}"`+"\n", dir, "docker-credential-test")
	writeFile(t, `{"credHelpers":{"a.example":"test","b.example":"missing"}}`, dir, "config.json")
	k := client.NewKeychain()
	for _, repository := range []string{"x", "y", "z"} {
		c, err := k.Credential(t.Context(), "a.example", repository)
		if err != nil || c.Username != "helped" || c.Password != "s" {
			t.Errorf("the keychain found %v (error %v), want the login of the helper", c, err)
		}
	}
	if runs, err := os.ReadFile(filepath.Join(dir, "runs")); err != nil || string(runs) != "run\n" {
		t.Errorf("the helper's log is %q (error %v), want one run", runs, err)
	}
	if c, err := k.Credential(t.Context(), "b.example", "x"); err == nil {
		t.Errorf("with a missing helper, the keychain found %v, want an error", c)
	}
}

// Docker Hub is called docker.io. docker login stores its login under https://index.docker.io/v1/ (docker/cli,
// internal/registry/config.go, IndexServer), and podman under docker.io (containers-auth.json(5)).
func TestDockerHubLogin(t *testing.T) {
	for name, test := range map[string]struct{ key, user string }{
		"docker":                    {"https://index.docker.io/v1/", "ann"},
		"podman":                    {"docker.io", "ann"},
		"podman, for a path":        {"docker.io/deckhouse", "ann"},
		"a login for another host":  {"registry-1.docker.io", ""},
		"a login for other content": {"docker.io/other", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("DOCKER_CONFIG", dir)
			authFile(t, test.key, "ann", "p", dir, "config.json")
			hub, err := client.ParseReference("docker.io/deckhouse/x")
			if err != nil {
				t.Fatal(err)
			}
			c, err := client.New(client.Options{Registry: hub.Registry, Keychain: client.NewKeychain()})
			if err != nil {
				t.Fatal(err)
			}
			header := http.Header{"Www-Authenticate": {`Basic realm="hub"`}}
			login, err := c.LogIn(t.Context(), &url.URL{Scheme: "https", Host: hub.Registry, Path: "/v2/"}, header, hub.Path)
			if err != nil || login.Credential.Username != test.user {
				t.Errorf("the client logs in with %v (error %v), want the user %q", login.Credential, err, test.user)
			}
		})
	}
}

// The login in an earlier file takes precedence, whether podman or docker has stored it.
func TestDockerHubLoginInEarlierFile(t *testing.T) {
	for key, later := range map[string]string{"docker.io": "https://index.docker.io/v1/", "https://index.docker.io/v1/": "docker.io"} {
		t.Run(key, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("REGISTRY_AUTH_FILE", authFile(t, key, "ann", "p", dir, "auth.json"))
			t.Setenv("DOCKER_CONFIG", dir)
			authFile(t, later, "bob", "p", dir, "config.json")
			c, err := client.NewKeychain().Credential(t.Context(), "index.docker.io", "deckhouse/x")
			if err != nil || c.Username != "ann" {
				t.Errorf("the keychain found %v (error %v), want the login of ann from REGISTRY_AUTH_FILE", c, err)
			}
		})
	}
}

func TestKeychainReadErrors(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(dir, "none.json"))
	_, err := client.NewKeychain().Credential(t.Context(), "a.example", "x")
	if err == nil || !strings.Contains(err.Error(), "none.json") {
		t.Errorf("for a missing file, the error is %v, want the file's name in it", err)
	}
	t.Setenv("REGISTRY_AUTH_FILE", writeFile(t, `{"auths":`, dir, "bad.json"))
	_, err = client.NewKeychain().Credential(t.Context(), "a.example", "x")
	if err == nil || !strings.Contains(err.Error(), "bad.json") {
		t.Errorf("for a malformed file, the error is %v, want the file's name in it", err)
	}
}

func TestRedirectsGetNoLogin(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Basic: true})
	c := dial(t, r, private, func(o *client.Options) { o.Credential = user })
	b := noise(1000, 1)
	upload(t, c, b.upload("x"), b)
	leaked := ""
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked += r.Header.Get("Authorization")
		w.Write(b.data)
	}))
	defer store.Close()
	r.Inject(registrytest.Answer(registrytest.On("GET blobs"), 307, "Location: "+store.URL+"/blob?signature=x"))
	wantBlob(t, c, "x", b)
	if leaked != "" {
		t.Errorf("the other host received the login, want none: %s", leaked)
	}
	guarded := dial(t, r, func(o *client.Options) { o.Credential = user })
	_, err := guarded.Blob(t.Context(), "x", b.digest, 1000, 0)
	wantCause(t, err, client.ErrPrivate)
}
