package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/cli/cli/config/types"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// If a challenge lists scopes, the client requests a token only for those that the call needs.
func TestScopesWithin(t *testing.T) {
	ours := []string{"repository:a/b:pull,push", "repository:from:pull"}
	for challenged, want := range map[string][]string{
		"":                                nil,
		"repository:a/b:pull":             {"repository:a/b:pull"},
		"repository:a/b:push,pull":        {"repository:a/b:push,pull"}, // the same scope in another order
		"repository:a/b:pull,push,delete": nil,
		"repository:a/b:pull,push":        nil, // the call requests this scope anyway
		"repository:a/b:delete":           nil,
		"repository:a:pull":               nil,
		"repository:from:pull,push":       nil,
		"registry:catalog:*":              nil,
		"repository:x:pull repository:a/b:push repository:a/b:pull nonsense ::": {"repository:a/b:push", "repository:a/b:pull"},
	} {
		if got := scopesWithin(challenged, ours); !slices.Equal(got, want) {
			t.Errorf("scopesWithin(%q) = %q, want %q", challenged, got, want)
		}
	}
	if resource, actions := cutActions("nonsense"); resource != "" || !slices.Equal(actions, []string{"nonsense"}) {
		t.Errorf("cutActions(nonsense) = %q, %q; want no resource and the action nonsense", resource, actions)
	}
}

func TestTokenErrorNamesPushedRepository(t *testing.T) {
	for want, scopes := range map[string][]string{
		"":     {"registry:catalog:*", "nonsense"},
		"to":   {"repository:from:pull", "repository:to:pull,push"},
		"also": {"repository:also:pull,push", "repository:from:pull"},
		"a":    {"repository:a:pull", "repository:b:pull", "registry:catalog:push"},
	} {
		if got := repositoryOf(scopes); got != want {
			t.Errorf("repositoryOf(%q) = %q, want %q", scopes, got, want)
		}
	}
}

func TestScopeByMethod(t *testing.T) {
	for _, c := range []struct {
		method string
		push   bool
		want   string
	}{
		{http.MethodGet, false, "pull"}, {http.MethodHead, false, "pull"}, {http.MethodGet, true, "pull,push"}, {http.MethodHead, true, "pull,push"},
		{http.MethodPut, false, "pull,push"}, {http.MethodPost, true, "pull,push"}, {http.MethodDelete, false, "pull,push,delete"}, {http.MethodDelete, true, "pull,push,delete"},
	} {
		if got := (&Client{options: Options{Push: c.push}}).scope("a/b", c.method); got != "repository:a/b:"+c.want {
			t.Errorf("the scope of %s with Push %v is %s, want the actions %s", c.method, c.push, got, c.want)
		}
	}
}

func TestCauseAmong(t *testing.T) {
	for err, want := range map[error]error{
		fmt.Errorf("x: %w", ErrPrivate): ErrPrivate, fmt.Errorf("x: %w", ErrRefused): ErrRefused, errors.New("other"): ErrRefused,
	} {
		if got := causeAmong(err, ErrPrivate, ErrRefused); !errors.Is(got, want) {
			t.Errorf("causeAmong(%v) = %v, want the cause that the error wraps, or ErrRefused if it wraps none", err, got)
		}
	}
}

// A token is used for nine tenths of its lifetime. A lifetime above twelve days counts as twelve
// days. It may be written as a number or as a string.
func TestTokenLifetimeFormats(t *testing.T) {
	for written, want := range map[string]time.Duration{
		`300`: 270 * time.Second, `"300"`: 270 * time.Second, `" 300 "`: 270 * time.Second, `0.5`: 450 * time.Millisecond,
		`1e999`: maxLife * 9 / 10, `"1e999"`: maxLife * 9 / 10, `"-1e999"`: 54 * time.Second, `"NaN"`: 54 * time.Second, `"1h"`: 54 * time.Second,
		`0`: 54 * time.Second, `-1`: 54 * time.Second, `null`: 54 * time.Second, `{}`: 54 * time.Second, fmt.Sprint(int64(math.MaxInt64)): maxLife * 9 / 10,
	} {
		var s seconds
		if err := s.UnmarshalJSON([]byte(written)); err != nil {
			t.Errorf("%s: %v", written, err)
		}
		now := time.Unix(1_790_000_000, 0)
		if got := (tokenAnswer{ExpiresIn: s}).expiry(now).Sub(now); got != want {
			t.Errorf("with the lifetime %s, the token is used for %v, want %v", written, got, want)
		}
	}
}

// parseChallenges stops at the first syntax error. The name of an unusable parameter counts as a scheme.
func TestMalformedChallenges(t *testing.T) {
	for header, want := range map[string]string{
		`realm="x", Basic`:           `realm{}`,
		`Basic realm="a\"b"`:         `basic{realm:a"b}`,
		`Basic realm="a\\"`:          `basic{realm:a\}`,
		`Basic realm="a\`:            `basic{} realm{}`,
		`Basic realm="a`:             `basic{} realm{}`,
		"Basic realm=a\x7fb, Bearer": "basic{realm:a}",
		"Basic realm=a\x01b, Bearer": "basic{realm:a}",
		"Basic realm=aéb, Bearer":    "basic{realm:a}",
		`Basic realm=, Bearer`:       `basic{realm:} bearer{}`,
		`Basic realm = "a" , x=y`:    `basic{realm:a,x:y}`,
	} {
		var all []string
		for _, c := range parseChallenges(header) {
			var params []string
			for _, key := range slices.Sorted(maps.Keys(c.params)) {
				params = append(params, key+":"+c.params[key])
			}
			all = append(all, c.scheme+"{"+strings.Join(params, ",")+"}")
		}
		if got := strings.Join(all, " "); got != want {
			t.Errorf("parseChallenges(%q) = %s, want %s", header, got, want)
		}
	}
}

// tokenServer answers requests for tokens, and records these requests.
type tokenServer struct {
	url string
	// exchange is the status of answers to POST requests. 200 means that the other fields decide.
	exchange int
	// refusal is the status of answers that neither exchange nor elsewhere decides. 0 means 200.
	refusal int
	// empty is how many of the next answers contain no token.
	empty int
	// elsewhere is the URL that requests are redirected to; empty means no redirect.
	elsewhere string
	requests  []*http.Request
	forms     []url.Values
}

func newTokenServer(t *testing.T, exchange int) *tokenServer {
	t.Helper()
	s := &tokenServer{exchange: exchange}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		s.requests, s.forms = append(s.requests, r), append(s.forms, form)
		if r.Method == http.MethodPost && s.exchange != http.StatusOK {
			w.WriteHeader(s.exchange)
			return
		}
		switch s.empty--; {
		case s.elsewhere != "":
			http.Redirect(w, r, s.elsewhere, http.StatusTemporaryRedirect)
		case s.refusal != 0:
			w.WriteHeader(s.refusal)
		case s.empty >= 0:
			_, _ = io.WriteString(w, "{}")
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "of " + r.Method})
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// fetch requests a token from s. The address of s is also that of the client's registry.
func (s *tokenServer) fetch(t *testing.T, credential Credential) (tokenAnswer, error) {
	t.Helper()
	from, err := url.Parse(s.url + "/v2/")
	layouttest.Try(t, err)
	c, err := New(Options{Registry: from.Host, PlainHTTP: true, Retries: -1, AllowPrivateRedirects: true, FirstPause: 1})
	layouttest.Try(t, err)
	t.Cleanup(c.Close)
	realm := strings.Replace(s.url, "//", "//user:password@", 1) + "/token?x=y&scope=everything#part"
	ch := challenge{"bearer", map[string]string{"realm": realm, "service": "the service"}}
	return c.fetchToken(t.Context(), tokenRequest{from: from, challenge: ch, scopes: []string{"repository:a:pull", "repository:b:push"}, credential: credential})
}

// A client sends a password by GET, and an identity token by POST in a form. It never requests the
// scope that the realm's URL contains. See Docker's "Token Authentication Specification" and
// "OAuth2 Token Authentication".
func TestRequestsForTokens(t *testing.T) {
	s := newTokenServer(t, http.StatusOK)
	if answer, err := s.fetch(t, Credential{Username: "ann", Password: "secret"}); err != nil || answer.value() != "of GET" {
		t.Fatalf("with a password, fetch returned %+v, error %v; want the token that GET gives", answer, err)
	}
	r := s.requests[0]
	want := url.Values{"x": {"y"}, "service": {"the service"}, "scope": {"repository:a:pull", "repository:b:push"}}
	if user, password, _ := r.BasicAuth(); user != "ann" || password != "secret" || r.URL.Path != "/token" || r.URL.Query().Encode() != want.Encode() || len(s.requests) != 1 {
		t.Errorf("the client sent %s %s with the login %s:%s in %d requests, want one request with the query %s and the login ann:secret", r.Method, r.URL, user, password, len(s.requests), want.Encode())
	}
	s = newTokenServer(t, http.StatusOK)
	if _, err := s.fetch(t, Credential{}); err != nil || s.requests[0].Header.Get("Authorization") != "" {
		t.Errorf("the anonymous client sent Authorization %q (error %v), want no login, although the realm's URL contains one", s.requests[0].Header.Get("Authorization"), err)
	}
	s = newTokenServer(t, http.StatusOK)
	if answer, err := s.fetch(t, Credential{IdentityToken: "identity"}); err != nil || answer.value() != "of POST" {
		t.Fatalf("with an identity token, fetch returned %+v, error %v; want the token that POST gives", answer, err)
	}
	r = s.requests[0]
	want = url.Values{"x": {"y"}, "service": {"the service"}, "scope": {"repository:a:pull repository:b:push"}, "client_id": {"layoutproxy"}, "grant_type": {"refresh_token"}, "refresh_token": {"identity"}}
	if s.forms[0].Encode() != want.Encode() || r.URL.RawQuery != "" || r.Header.Get("Authorization") != "" || len(s.requests) != 1 {
		t.Errorf("the client sent %s %s with the form %v, want one request with the form %v and without a login", r.Method, r.URL, s.forms[0], want)
	}
}

// If an answer contains no token, the client repeats the request and bypasses caches. If the
// server refuses the login, the error names the login and the server.
func TestMissingTokens(t *testing.T) {
	s := newTokenServer(t, http.StatusOK)
	s.empty = 1
	answer, err := s.fetch(t, Credential{})
	if err != nil || answer.value() != "of GET" || len(s.requests) != 2 {
		t.Fatalf("after %d requests, the answer is %+v (error %v); want a token after 2 requests", len(s.requests), answer, err)
	}
	for i, r := range s.requests {
		if fresh := r.Header.Get("Cache-Control") != ""; fresh != (i == 1) {
			t.Errorf("request %d has the headers %v, want Cache-Control only in the second request", i, r.Header)
		}
	}
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		s = newTokenServer(t, http.StatusOK)
		s.refusal = status
		if _, err := s.fetch(t, Credential{Username: "ann", Source: "a file"}); err == nil || !strings.Contains(err.Error(), `rejects user "ann" from a file`) || errors.Is(err, ErrOtherHost) {
			t.Errorf("if the token server answers %d, the error is %v, want one that says that the server rejects user ann from a file, and not ErrOtherHost", status, err)
		}
		first := newTokenServer(t, http.StatusOK)
		first.elsewhere = s.url
		if _, err := first.fetch(t, Credential{Username: "ann", Source: "a file"}); err == nil || strings.Contains(err.Error(), "rejects") || !errors.Is(err, ErrOtherHost) {
			t.Errorf("after a redirect to a host that answers %d, the error is %v, want ErrOtherHost", status, err)
		}
	}
	s = newTokenServer(t, http.StatusOK)
	s.refusal = http.StatusTeapot
	first := newTokenServer(t, http.StatusOK)
	first.elsewhere = s.url
	if _, err := first.fetch(t, Credential{Username: "ann"}); err == nil || errors.Is(err, ErrOtherHost) {
		t.Errorf("after a redirect to a host that answers 418, the error is %v, want any error but ErrOtherHost", err)
	}
}

func TestWaitForTokenEndsWithContext(t *testing.T) {
	c, err := New(Options{Registry: "reg.example"})
	layouttest.Try(t, err)
	r := tokenRequest{from: &url.URL{Scheme: "https", Host: "reg.example"}, challenge: challenge{"bearer", map[string]string{"realm": "https://reg.example/token"}}}
	c.auth.slot(r.key()).fetching <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if token, err := c.token(ctx, r); token != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context, token returned %q and the error %v, want no token and context.Canceled", token, err)
	}
}

// If a token server answers POST with 404 or 405, the client requests the token by GET. It
// accepts any other answer as final.
func TestTokenExchangeFallsBackToGET(t *testing.T) {
	for status, again := range map[int]bool{http.StatusNotFound: true, http.StatusMethodNotAllowed: true, http.StatusBadRequest: false, http.StatusUnauthorized: false, http.StatusForbidden: false} {
		s := newTokenServer(t, status)
		answer, err := s.fetch(t, Credential{IdentityToken: "identity"})
		if asked := len(s.requests) == 2 && s.requests[1].Method == http.MethodGet; asked != again || (err == nil) != again || again && answer.value() != "of GET" {
			t.Errorf("after the status %d, the client sent %d requests and got %+v (error %v); want a second request, by GET, and a token: %v", status, len(s.requests), answer, err, again)
		}
	}
}

// keychainOf returns a keychain that reads a single file with the given content.
func keychainOf(t *testing.T, content string) *Keychain {
	t.Helper()
	file := filepath.Join(t.TempDir(), "auth.json")
	layouttest.WriteFile(t, file, content)
	return &Keychain{files: []string{file}, known: map[string]known{}}
}

// The client finds a stored login with or without the default port. If Options contains a login,
// the client uses that one instead.
func TestCredentialDefaultPort(t *testing.T) {
	for _, c := range []struct {
		registry, stored string
		plain, found     bool
	}{
		{"reg.example", "reg.example", false, true},
		{"reg.example:443", "reg.example", false, true},
		{"reg.example:443", "reg.example:443", false, true},
		{"reg.example", "reg.example:443", false, true},
		{"reg.example", "reg.example:80", true, true},
		{"reg.example", "reg.example:80", false, false},
		{"reg.example:5000", "reg.example:5000", false, true},
		{"reg.example:5000", "reg.example", false, false},
		{"[::1]", "[::1]:443", false, true},
		{"[::1]:5000", "[::1]", false, false},
	} {
		client, err := New(Options{Registry: c.registry, PlainHTTP: c.plain, Keychain: keychainOf(t, fmt.Sprintf(`{"auths":{%q:{"auth":"YW5uOnA="}}}`, c.stored))})
		layouttest.Try(t, err)
		if found, err := client.credential(t.Context(), "app"); found.Empty() == c.found || err != nil || c.found && (found.Username != "ann" || found.Password != "p") {
			t.Errorf("for %+v, the keychain returned the login %v (error %v), want ann:p if found is true, and none otherwise", c, found, err)
		}
		client.options.Credential = Credential{Password: "other"}
		if found, err := client.credential(t.Context(), "app"); found.Password != "other" || err != nil {
			t.Errorf("for %+v, the client uses the login %v (error %v), want the one in Options", c, found, err)
		}
	}
}

func TestLogIn(t *testing.T) {
	for _, c := range []struct {
		from, challenge string
		credential      Credential
		want            string // the Authorization header
		scheme          string
		err             error
	}{
		{"https://reg.example/v2/", `Basic realm="x"`, Credential{Username: "ann", Password: "p"}, "Basic YW5uOnA=", "basic", nil},
		{"https://reg.example/v2/", `Basic realm="x"`, Credential{Username: "ann"}, "Basic YW5uOg==", "basic", nil},
		{"https://reg.example/v2/", `Basic realm="x"`, Credential{Password: "p"}, "Basic OnA=", "basic", nil},
		{"https://reg.example/v2/", `Basic realm="x"`, Credential{}, "", "basic", nil},
		{"https://reg.example/v2/", `Basic realm="x"`, Credential{RegistryToken: "t"}, "Bearer t", "basic", nil},
		{"https://cdn.example/v2/", `Basic realm="x"`, Credential{Username: "ann"}, "", "", ErrOtherHost},
		{"https://reg.example/v2/", `Negotiate`, Credential{Username: "ann"}, "", "", errNoWay},
		{"https://reg.example/v2/", `Bearer realm="http://10.1.2.3/token"`, Credential{Username: "ann"}, "", "bearer", ErrPrivate},
	} {
		client, err := New(Options{Registry: "reg.example", Credential: c.credential})
		layouttest.Try(t, err)
		from, err := url.Parse(c.from)
		layouttest.Try(t, err)
		login, err := client.LogIn(t.Context(), from, http.Header{"Www-Authenticate": {c.challenge}}, "app")
		if login.Authorization != c.want || login.Scheme != c.scheme || !errors.Is(err, c.err) {
			t.Errorf("LogIn with a challenge from %s, %s, and the credential %v = %+v, error %v; want the header %q, the scheme %q and the error %v", c.from, c.challenge, c.credential, login, err, c.want, c.scheme, c.err)
		}
	}
	client, err := New(Options{Registry: "reg.example", Keychain: keychainOf(t, "{")})
	layouttest.Try(t, err)
	login, err := client.LogIn(t.Context(), &url.URL{Scheme: "https", Host: "reg.example"}, http.Header{"Www-Authenticate": {"Basic"}}, "")
	if login.Scheme != "basic" || !errors.Is(err, ErrCredentials) {
		t.Errorf("with a malformed login file, LogIn = %+v, error %v; want the scheme basic and ErrCredentials", login, err)
	}
}

func TestIsPathKey(t *testing.T) {
	for key, path := range map[string]bool{
		"reg.example": false, "https://reg.example": false, "https://reg.example/": false, "https://index.docker.io/v1/": false, "http://reg.example/v2": false,
		"reg.example/team": true, "https://reg.example/v1/team": true, "reg.example:5000/v3": true,
	} {
		if isPathKey(key) != path {
			t.Errorf("isPathKey(%s) = %v, want the opposite", key, !path)
		}
	}
}

// A credential is cached for ten minutes, for all repositories of a host. Errors are not cached.
func TestKeychainCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auths := func(auth string) string { return fmt.Sprintf(`{"auths":{"reg.example":{"auth":%q}}}`, auth) }
		k := keychainOf(t, "{")
		find := func(repository, want string) {
			t.Helper()
			found, err := k.Credential(t.Context(), "reg.example", repository)
			if found.Username != want || (err != nil) != (want == "") {
				t.Errorf("the login for the repository %s has the user %q (error %v), want %q", repository, found.Username, err, want)
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := k.Credential(gone, "reg.example", "app"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		find("app", "")
		layouttest.WriteFile(t, k.files[0], auths("YW5uOnA="))
		find("app", "ann")
		layouttest.WriteFile(t, k.files[0], auths("Ym9iOnA="))
		find("app", "ann")
		find("other", "ann")
		time.Sleep(keepKnown - 1)
		find("app", "ann")
		find("third", "ann")
		time.Sleep(time.Nanosecond)
		find("fourth", "bob")
		find("app", "bob")
	})
}

func TestKeychainFiles(t *testing.T) {
	t.Setenv("HOME", "/home")
	for _, c := range []struct{ registry, docker, runtime, config, want string }{
		{"", "", "", "", "/home/.docker/config.json /home/.config/containers/auth.json"},
		{"/auth", "/docker", "/run", "/config", "/auth /docker/config.json /run/containers/auth.json /config/containers/auth.json"},
	} {
		t.Setenv("REGISTRY_AUTH_FILE", c.registry)
		t.Setenv("DOCKER_CONFIG", c.docker)
		t.Setenv("XDG_RUNTIME_DIR", c.runtime)
		t.Setenv("XDG_CONFIG_HOME", c.config)
		if got := strings.Join(NewKeychain().files, " "); got != c.want {
			t.Errorf("for %+v, the keychain reads the files %s, want those in the field want", c, got)
		}
	}
	if c := credentialOf(types.AuthConfig{Username: "<token>", Password: "secret"}, "x"); c != (Credential{IdentityToken: "secret", Source: "x"}) {
		t.Errorf("for the user name <token>, credentialOf returned %+v, want the password as identity token", c)
	}
	t.Setenv("DOCKER_AUTH_CONFIG", `{"auths":{"reg.example":{"auth":"YW5uOnA="}}}`)
	if c, err := (&Keychain{known: map[string]known{}}).Credential(t.Context(), "reg.example", "app"); c.Username != "ann" || c.Source != "DOCKER_AUTH_CONFIG" || err != nil {
		t.Errorf("without files, the keychain found %v (error %v), want ann's login from DOCKER_AUTH_CONFIG", c, err)
	}
}

// An answer may have exactly as many bytes as its limit. A server at a private address may
// redirect to itself, with or without its default port.
func TestAnswerSizeLimit(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "12345") }))
	defer server.Close()
	at, err := url.Parse(server.URL)
	layouttest.Try(t, err)
	c, err := New(Options{Registry: at.Host, PlainHTTP: true})
	layouttest.Try(t, err)
	defer c.Close()
	for limit, ok := range map[int64]bool{4: false, 5: true, 6: true} {
		_, got, err := c.fetch(t.Context(), &call{op: "test", method: http.MethodGet, url: at, want: []int{http.StatusOK}, header: http.Header{}}, limit)
		if (err == nil) != ok || ok && string(got) != "12345" || !ok && !errors.Is(err, ErrMismatch) {
			t.Errorf("with a limit of %d bytes, the answer is %q (error %v), want success: %v", limit, got, err, ok)
		}
	}
	private := &Client{options: Options{Registry: "reg.example"}}
	if err := private.checkRedirect(&url.URL{Scheme: "https", Host: "10.1.2.3"}, &url.URL{Scheme: "https", Host: "10.1.2.3:443"}); err != nil {
		t.Error(err)
	}
}

func TestTruncatedAnswersAreRetried(t *testing.T) {
	for _, c := range []struct{ cut, retries, asked int }{{1, 2, 2}, {2, 2, 3}, {9, 2, 3}, {9, -1, 1}} {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			if asked++; asked <= c.cut {
				_, _ = io.WriteString(w, "12")
				return // the server then closes the connection
			}
			_, _ = io.WriteString(w, "12345")
		}))
		at, err := url.Parse(server.URL)
		layouttest.Try(t, err)
		client, err := New(Options{Registry: at.Host, PlainHTTP: true, Retries: c.retries, FirstPause: 1})
		layouttest.Try(t, err)
		_, got, err := client.fetch(t.Context(), &call{op: "test", method: http.MethodGet, url: at, want: []int{http.StatusOK}, header: http.Header{}}, 10)
		if ok := c.cut < c.asked; asked != c.asked || (err == nil) != ok || ok && string(got) != "12345" || !ok && !strings.Contains(err.Error(), at.Host) {
			t.Errorf("for %+v, the client sent %d requests and got %q (error %v); want the 5 bytes if cut is less than asked, and an error otherwise", c, asked, got, err)
		}
		client.Close()
		server.Close()
	}
}
