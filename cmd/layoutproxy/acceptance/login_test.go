package acceptance

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/auth/tokentest"
)

// These are the name, the password and the htpasswd line of the test user.
const (
	user, password = "frodo", "baggins"
	htpasswdLine   = "frodo:$2y$05$926C3y10Quzn/LnqQH86VOEVh/18T6RnLaS.khre96jLNL/7e.K5W\n"
)

// htpasswdFile writes an htpasswd file that contains only the test user.
func htpasswdFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "htpasswd")
	layouttest.WriteFile(t, file, htpasswdLine)
	return file
}

// locked returns a server that requires a password, and a server that requires a token.
func locked(t *testing.T) map[string]server {
	return map[string]server{
		"password": serve(t, bundleDir, "--htpasswd", htpasswdFile(t)),
		"token":    serveWithTokens(t, func(string, string) bool { return true }),
	}
}

// serveWithTokens runs a server with a token server. Both have the same address, because crane
// rejects a token server at another loopback address.
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
			runIn(t, home, crane, "auth", "login", s.registry, "-u", user, "-p", password, "--insecure")
			i := pick(t, sample(t), installer)
			if got := strings.TrimSpace(runIn(t, home, crane, "digest", i.reference(s))); got != i.digest.String() {
				t.Errorf("got digest %s, want %s", got, i.digest)
			}
			runIn(t, home, crane, "validate", "--remote", i.reference(s))
			if out := runIn(t, home, crane, "catalog", "--insecure", s.registry); !strings.Contains(out, sampleRoot+"/install\n") {
				t.Errorf("crane catalog does not list the repository install:\n%s", out)
			}
			runRefused(t, t.TempDir(), crane, "digest", i.reference(s))
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
			runRefused(t, home, skopeo, append(login, "wrong", s.registry)...)
			runIn(t, home, skopeo, append(login, password, s.registry)...)
			i := pick(t, sample(t), installer)
			runIn(t, home, skopeo, "--insecure-policy", "copy", "--authfile", file, "--src-tls-verify=false", "docker://"+i.reference(s), "dir:"+filepath.Join(home, "copy"))
			runRefused(t, home, skopeo, "inspect", "--raw", "--tls-verify=false", "docker://"+i.reference(s))
		})
	}
}

// TestDockerLogsIn needs only the docker client, because docker login does not use the daemon.
func TestDockerLogsIn(t *testing.T) {
	client := packaged(t, "docker")
	for name, s := range locked(t) {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			runRefused(t, home, client, "login", "-u", user, "-p", "wrong", s.registry)
			if out := runIn(t, home, client, "login", "-u", user, "-p", password, s.registry); !strings.Contains(out, "Login Succeeded") {
				t.Errorf("docker login printed %q, want \"Login Succeeded\"", out)
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
				t.Error("Resolve with a wrong password succeeded, want an error")
			}
			if _, _, err := direct().Resolve(t.Context(), i.reference(s)); err == nil {
				t.Error("Resolve without a password succeeded, want an error")
			}
		})
	}
}

// authorized returns a resolver of containerd's library that logs in with the given password.
func authorized(password string) remotes.Resolver {
	authorizer := docker.NewDockerAuthorizer(docker.WithAuthCreds(func(string) (string, string, error) { return user, password, nil }))
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost), docker.WithAuthorizer(authorizer)),
	})
}

// The server allows access only to the repositories that a token grants.
func TestTokenAllowsOnlyGrantedRepositories(t *testing.T) {
	crane := tool(t, "crane")
	s := serveWithTokens(t, func(_, repository string) bool { return strings.HasSuffix(repository, "/install") })
	home := t.TempDir()
	runIn(t, home, crane, "auth", "login", s.registry, "-u", user, "-p", password, "--insecure")
	runIn(t, home, crane, "ls", s.registry+"/"+sampleRoot+"/install")
	runRefused(t, home, crane, "ls", s.registry+"/"+sampleRoot+"/modules")
}
