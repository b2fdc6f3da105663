package acceptance

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/layoutproxy/layoutproxy/registry/auth/tokentest"
)

// Who logs in, and whose hash the file has: of "baggins".
const (
	user, password = "frodo", "baggins"
	htpasswdLine   = "frodo:$2y$05$926C3y10Quzn/LnqQH86VOEVh/18T6RnLaS.khre96jLNL/7e.K5W\n"
)

// locked are servers that want credentials, by the way they ask for them.
func locked(t *testing.T) map[string]server {
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte(htpasswdLine), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]server{
		"password": serve(t, bundleDir, "--htpasswd", file),
		"token":    serveWithTokens(t, func(string, string) bool { return true }),
	}
}

// serveWithTokens runs a server whose token server answers at the same address, as
// crane takes no token from another loopback one.
func serveWithTokens(t *testing.T, may func(user, repository string) bool) server {
	t.Helper()
	tokens := tokentest.New(t)
	tokens.Users[user], tokens.May = password, may
	certs, _ := tokens.WriteKeys(t.TempDir())
	var registry atomic.Pointer[httputil.ReverseProxy]
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/token" {
			tokens.ServeHTTP(w, req)
			return
		}
		registry.Load().ServeHTTP(w, req)
	}))
	t.Cleanup(front.Close)
	s := serve(t, bundleDir, "--token-realm", front.URL+"/token", "--token-service", tokens.Service,
		"--token-issuer", tokens.Issuer, "--token-root-certs", certs)
	registry.Store(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.registry}))
	s.registry = front.Listener.Addr().String()
	return s
}

func TestCraneLogsIn(t *testing.T) {
	crane := tool(t, "crane")
	for name, s := range locked(t) {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			in(t, home, crane, "auth", "login", s.registry, "-u", user, "-p", password, "--insecure")
			i := pick(t, sample(t), installer)
			if got := strings.TrimSpace(in(t, home, crane, "digest", i.reference(s))); got != i.digest.String() {
				t.Errorf("%s, want %s", got, i.digest)
			}
			in(t, home, crane, "validate", "--remote", i.reference(s))
			if out := in(t, home, crane, "catalog", "--insecure", s.registry); !strings.Contains(out, sampleRoot+"/install\n") {
				t.Errorf("catalog: %s", out)
			}
			fails(t, t.TempDir(), crane, "digest", i.reference(s))
		})
	}
}

func TestSkopeoLogsIn(t *testing.T) {
	skopeo := packaged(t, "skopeo")
	for name, s := range locked(t) {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			file := filepath.Join(home, "auth.json")
			login := []string{"login", "--tls-verify=false", "--authfile", file, "-u", user, "-p"}
			fails(t, home, skopeo, append(login, "wrong", s.registry)...)
			in(t, home, skopeo, append(login, password, s.registry)...)
			i := pick(t, sample(t), installer)
			in(t, home, skopeo, "--insecure-policy", "copy", "--authfile", file, "--src-tls-verify=false", "docker://"+i.reference(s), "dir:"+filepath.Join(home, "copy"))
			fails(t, home, skopeo, "inspect", "--raw", "--tls-verify=false", "docker://"+i.reference(s))
		})
	}
}

// TestDockerLogsIn needs the client only: a login asks no daemon.
func TestDockerLogsIn(t *testing.T) {
	client := packaged(t, "docker")
	for name, s := range locked(t) {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			fails(t, home, client, "login", "-u", user, "-p", "wrong", s.registry)
			if out := in(t, home, client, "login", "-u", user, "-p", password, s.registry); !strings.Contains(out, "Login Succeeded") {
				t.Errorf("%s", out)
			}
		})
	}
}

func TestContainerdLogsIn(t *testing.T) {
	for name, s := range locked(t) {
		t.Run(name, func(t *testing.T) {
			i := pick(t, sample(t), installer)
			contentOf(t, i.layout(), i.digest).compare(t, i.name(), pull(t, authorized(password), i.reference(s), i.digest))
			if _, _, err := authorized("wrong").Resolve(t.Context(), i.reference(s)); err == nil {
				t.Error("a wrong password is good enough")
			}
			if _, _, err := direct().Resolve(t.Context(), i.reference(s)); err == nil {
				t.Error("no password is good enough")
			}
		})
	}
}

// authorized is containerd's resolver with the credentials of the user.
func authorized(password string) remotes.Resolver {
	authorizer := docker.NewDockerAuthorizer(docker.WithAuthCreds(func(string) (string, string, error) { return user, password, nil }))
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost), docker.WithAuthorizer(authorizer)),
	})
}

// A token is for the repositories that its server lets the user have.
func TestTokenIsForSomeRepositories(t *testing.T) {
	crane := tool(t, "crane")
	s := serveWithTokens(t, func(_, repository string) bool { return strings.HasSuffix(repository, "/install") })
	home := t.TempDir()
	in(t, home, crane, "auth", "login", s.registry, "-u", user, "-p", password, "--insecure")
	in(t, home, crane, "ls", s.registry+"/"+sampleRoot+"/install")
	fails(t, home, crane, "ls", s.registry+"/"+sampleRoot+"/modules")
}
