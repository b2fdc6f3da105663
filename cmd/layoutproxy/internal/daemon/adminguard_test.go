package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// users writes an htpasswd file with one user, and returns its path.
func users(t *testing.T, name, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	layouttest.Try(t, err)
	file := filepath.Join(t.TempDir(), "htpasswd")
	layouttest.Try(t, os.WriteFile(file, []byte(name+":"+string(hash)+"\n"), 0o600))
	return file
}

// guardedAdmin returns the guard that the flags in args configure. Behind it, a handler answers
// every request with 204.
func guardedAdmin(t *testing.T, args ...string) http.Handler {
	t.Helper()
	guarded, err := guardAdmin(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
		settingsOf(t, append(args, t.TempDir())...), zap.NewNop())
	layouttest.Try(t, err)
	return guarded
}

// With --admin-htpasswd, every path except the probes requires a login, whatever the method. A
// refusal is plain text, for people with a browser.
func TestAdminRequiresLogin(t *testing.T) {
	guarded := guardedAdmin(t, "--admin-htpasswd", users(t, "ann", "secret"))
	for path, open := range map[string]bool{
		"/healthz": true, "/readyz": true, "/": false, "/status": false, "/metrics": false, "/rescan": false, "/reload": false, "/events": false,
		"/assets/page.css": false, "/debug/pprof/": false, "/nothing": false, "/healthz/": false, "//healthz": false, "/healthz/../status": false,
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS"} {
			for _, password := range []string{"", "wrong", "secret"} {
				req := httptest.NewRequest(method, "http://127.0.0.1:5580"+path, nil)
				if password != "" {
					req.SetBasicAuth("ann", password)
				}
				w := httptest.NewRecorder()
				guarded.ServeHTTP(w, req)
				want := http.StatusUnauthorized
				if open || password == "secret" {
					want = http.StatusNoContent
				}
				if w.Code != want {
					t.Errorf("%s %s with the password %q: status %d, want %d", method, path, password, w.Code, want)
				}
				if want == http.StatusUnauthorized && (w.Header().Get("WWW-Authenticate") != `Basic realm="layoutproxy"` || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain")) {
					t.Errorf("%s %s: headers are %v, want plain text and a WWW-Authenticate header with the realm layoutproxy", method, path, w.Header())
				}
			}
		}
	}
}

// Requests that a browser sends on behalf of another site's page change nothing. The browser marks
// them with Sec-Fetch-Site (Fetch Metadata) or Origin (RFC 6454, Fetch standard). curl sends
// neither.
func TestAdminRefusesOtherSites(t *testing.T) {
	guarded := guardedAdmin(t)
	for _, c := range []struct {
		method, site, origin string
		want                 int
	}{
		{"POST", "", "", http.StatusNoContent},
		{"POST", "same-origin", "http://127.0.0.1:5580", http.StatusNoContent},
		{"POST", "", "http://127.0.0.1:5580", http.StatusNoContent}, // browsers omit Sec-Fetch-Site over http
		{"POST", "none", "", http.StatusNoContent},
		{"POST", "cross-site", "http://evil.example", http.StatusForbidden},
		{"POST", "cross-site", "", http.StatusForbidden},
		{"POST", "same-site", "http://127.0.0.1:8080", http.StatusForbidden}, // from a page of another server on this machine
		{"POST", "", "http://evil.example", http.StatusForbidden},
		{"POST", "", "null", http.StatusForbidden},
		{"GET", "cross-site", "http://evil.example", http.StatusNoContent}, // A GET changes nothing, and the page cannot read the answer.
	} {
		req := httptest.NewRequest(c.method, "http://127.0.0.1:5580/rescan", nil)
		if c.site != "" {
			req.Header.Set("Sec-Fetch-Site", c.site)
		}
		if c.origin != "" {
			req.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		guarded.ServeHTTP(w, req)
		if w.Code != c.want {
			t.Errorf("%+v: got status %d, want %d", c, w.Code, c.want)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%+v: got an Access-Control-Allow-Origin header, want none", c)
		}
	}
}

// On loopback without a login, the admin address answers only under names that no attacker can own.
// This prevents DNS rebinding.
func TestAdminRefusesReboundNames(t *testing.T) {
	login := users(t, "ann", "secret")
	for host, own := range map[string]bool{
		"127.0.0.1:5580": true, "127.0.0.1": true, "[::1]:5580": true, "[::1]": true, "localhost:1": true, "localhost": true, "LOCALHOST": true,
		"app.localhost:5580": true, "proxy:5580": true, "": true, "localhost.": true,
		"evil.example:5580": false, "evil.example": false, "127.0.0.1.evil.example": false, "localhost.evil.example:1": false, "127.0.0.1.nip.io": false,
		"evil.example.": false, "a.b:c:d": false,
	} {
		for _, c := range []struct {
			args []string
			all  bool
		}{
			{nil, false},
			{[]string{"--admin-listen", "localhost:0"}, false},
			{[]string{"--admin-listen", "[::1]:0"}, false},
			{[]string{"--admin-listen", ":5580"}, true}, // not on loopback: clients may use the name of a service
			{[]string{"--admin-listen", "10.0.0.1:5580"}, true},
			{[]string{"--admin-htpasswd", login}, true}, // The browser has no credentials for the attacker's name.
		} {
			for _, path := range []string{"/status", "/healthz"} {
				req := httptest.NewRequest("GET", path, nil)
				req.Host = host
				req.SetBasicAuth("ann", "secret")
				w := httptest.NewRecorder()
				guardedAdmin(t, c.args...).ServeHTTP(w, req)
				want := http.StatusNoContent
				if !own && !c.all && path != "/healthz" {
					want = http.StatusMisdirectedRequest
				}
				if w.Code != want {
					t.Errorf("Host %q, flags %v, path %s: status %d, want %d", host, c.args, path, w.Code, want)
				}
			}
		}
	}
}

// The admin address can have its own certificate and a login. When their files change, the server
// uses the new content.
func TestAdminTLSAndLogin(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	writePair(t, dir, "admin", ca)
	login := users(t, "ann", "secret")
	registry, admin := inProcess(t, "--admin-tls-cert", filepath.Join(dir, "cert"), "--admin-tls-key", filepath.Join(dir, "key"), "--admin-htpasswd", login, t.TempDir())
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "admin"}}}
	defer client.CloseIdleConnections()
	get := func(path, user, password string) int {
		req, err := http.NewRequest(http.MethodGet, "https://"+admin+path, nil)
		layouttest.Try(t, err)
		if user != "" {
			req.SetBasicAuth(user, password)
		}
		resp, err := client.Do(req)
		layouttest.Try(t, err)
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		layouttest.Try(t, err)
		return resp.StatusCode
	}
	for _, c := range []struct {
		path, user, password string
		want                 int
	}{
		{"/healthz", "", "", 200}, {"/readyz", "", "", 200}, {"/status", "", "", 401}, {"/status", "ann", "secret", 200}, {"/status", "ann", "x", 401},
	} {
		if got := get(c.path, c.user, c.password); got != c.want {
			t.Errorf("%+v: got status %d, want %d", c, got, c.want)
		}
	}
	if got := registrytest.StatusOf("http://" + registry + "/v2/"); got != http.StatusOK {
		t.Errorf("the registry, without TLS and login: got status %d, want 200", got)
	}
	layouttest.Try(t, os.Rename(users(t, "bob", "other"), login))
	layouttest.Eventually(t, "the new user can log in", func() bool { return get("/status", "bob", "other") == http.StatusOK })
	if got := get("/status", "ann", "secret"); got != http.StatusUnauthorized {
		t.Errorf("a removed user got status %d, want 401", got)
	}
	writePair(t, dir, "admin2", ca)
	layouttest.Eventually(t, "the server uses the new certificate", func() bool { return servedName(t, admin) == "admin2" })
}

// Check, that is, --check-config, reports wrong admin flags and unusable files.
func TestAdminFlagsAreChecked(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for name, c := range map[string]struct {
		args  []string
		want  string
		usage bool
	}{
		"certificate without key":     {[]string{"--admin-tls-cert", missing}, "must be given together", true},
		"key without certificate":     {[]string{"--admin-tls-key", missing}, "must be given together", true},
		"login without admin address": {[]string{"--admin-listen", "", "--admin-htpasswd", missing}, "without an admin address", true},
		"missing certificate file":    {[]string{"--admin-tls-cert", missing, "--admin-tls-key", missing}, "--admin-tls-cert " + missing, false},
		"missing users file":          {[]string{"--admin-htpasswd", missing}, "--admin-htpasswd", false},
	} {
		err := Check(Options{Settings: settingsOf(t, append(c.args, t.TempDir())...), Log: zap.NewNop()})
		if err == nil || !strings.Contains(err.Error(), c.want) || (exit.Status(err) == 2) != c.usage {
			t.Errorf("%s: got the error %v, want %q (usage error: %t)", name, err, c.want, c.usage)
		}
	}
}

// In /status, an empty list is [], and a scrub that is off is null.
func TestStatusWithEmptyListsAndWithoutScrub(t *testing.T) {
	dir := t.TempDir()
	layouttest.Publish(t, dir, "app", "v1")
	_, admin := inProcess(t, dir)
	resp, err := http.Get("http://" + admin + "/status")
	layouttest.Try(t, err)
	defer resp.Body.Close()
	var document map[string]json.RawMessage
	layouttest.Try(t, json.NewDecoder(resp.Body).Decode(&document))
	for key, want := range map[string]string{"imports": "[]", "pushes": "[]", "problems": "[]", "scrub": "null"} {
		if got := string(document[key]); got != want {
			t.Errorf("%s in /status is %s, want %s", key, got, want)
		}
	}
}
