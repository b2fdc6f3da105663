// Package registrytest runs real registries for tests, and injects faults into them.
//
// Start with [New], which runs distribution v3 in this process. [Options] turns on basic
// authentication or tokens. Each request is recorded ([Registry.Requests]), and a [Fault] may
// answer it instead of the registry.
package registrytest

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/sirupsen/logrus"

	// The configuration names these parts of distribution.
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/layoutproxy/layoutproxy/registry/auth/tokentest"
)

// Registries with authentication accept these credentials.
const (
	Username = "user"
	Password = "a-secret-password"
	// hash is a bcrypt hash of Password with the lowest cost.
	hash = "$2a$04$dy.BapuuCtmjGDiTopp46OIXKMilbBOEvtkrX1fKD1J4ISxE1Z6aG"
)

// TB contains the methods of testing.TB that a registry needs.
type TB interface {
	tokentest.TB
	Cleanup(func())
	TempDir() string
}

// Options configures the registry to run.
type Options struct {
	// Dir is where the registry stores its content. "" means a new temporary directory.
	Dir   string
	Basic bool
	// Token turns on authentication with tokens from a server on another port.
	Token bool
	// ReadOnly turns on distribution's maintenance mode.
	ReadOnly bool
	TLS      bool
	// ClientCertificates requires a TLS client certificate, which may be from any issuer.
	ClientCertificates bool
	// Handler is the registry's handler. nil means distribution.
	Handler http.Handler
}

// Registry is a registry that runs in this process.
type Registry struct {
	*httptest.Server
	Host string
	// Tokens is the token server; nil if tokens are not used.
	Tokens *Tokens

	app     http.Handler
	mu      sync.Mutex
	faults  []Fault
	seen    []*Request
	running int
	// ended signals that a request has ended. Its lock is mu.
	ended *sync.Cond
}

// Request describes a request that the registry received.
type Request struct {
	Method, Path, Query string
	Authorization       string
	Length              int64 // length of the body according to its header
	Status              int
}

// Kind returns the method and the kind of path, such as "PUT manifests" or "PATCH uploads".
func (r Request) Kind() string {
	for _, kind := range []string{"uploads", "manifests", "blobs", "tags", "referrers"} {
		if strings.Contains(r.Path, "/"+kind+"/") {
			return r.Method + " " + kind
		}
	}
	return r.Method + " " + r.Path
}

// Fault answers a request instead of the registry, or changes the registry's answer. next is the
// registry. A Fault that does neither returns false.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler) bool

// New starts a registry that runs until the test ends.
func New(tb TB, o Options) *Registry {
	tb.Helper()
	logrus.SetOutput(io.Discard)
	r := &Registry{app: o.Handler}
	r.ended = sync.NewCond(&r.mu)
	if o.Token {
		r.Tokens = newTokens(tb)
	}
	if r.app == nil {
		r.app = r.distribution(tb, o)
	}
	r.Server = httptest.NewUnstartedServer(r)
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	if o.TLS {
		r.Server.TLS = &tls.Config{}
		if o.ClientCertificates {
			r.Server.TLS.ClientAuth = tls.RequireAnyClientCert
		}
		r.StartTLS()
	} else {
		r.Start()
	}
	tb.Cleanup(func() {
		r.CloseClientConnections()
		r.Close()
	})
	r.Host = r.Listener.Addr().String()
	return r
}

func (r *Registry) distribution(tb TB, o Options) http.Handler {
	tb.Helper()
	dir := o.Dir
	if dir == "" {
		dir = tb.TempDir()
	}
	config := &configuration.Configuration{
		Storage: configuration.Storage{"filesystem": configuration.Parameters{"rootdirectory": dir}, "delete": configuration.Parameters{"enabled": true}},
		Catalog: configuration.Catalog{MaxEntries: 1000},
	}
	if o.ReadOnly {
		config.Storage["maintenance"] = configuration.Parameters{"readonly": map[any]any{"enabled": true}}
	}
	config.Log.Level = "fatal"
	config.Log.AccessLog.Disabled = true
	config.HTTP.Secret = "of a test"
	switch {
	case o.Basic:
		file := filepath.Join(tb.TempDir(), "htpasswd")
		if err := os.WriteFile(file, []byte(Username+":"+hash+"\n"), 0o600); err != nil {
			tb.Fatal(err)
		}
		config.Auth = configuration.Auth{"htpasswd": configuration.Parameters{"realm": "test", "path": file}}
	case o.Token:
		config.Auth = configuration.Auth{"token": r.Tokens.parameters(tb)}
	}
	app := handlers.NewApp(context.Background(), config)
	tb.Cleanup(func() {
		if err := app.Shutdown(); err != nil {
			tb.Error(err)
		}
	})
	return app
}

// Inject adds a fault. It takes precedence over faults that were added before.
func (r *Registry) Inject(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append([]Fault{f}, r.faults...)
}

// Settle closes all connections and waits for the requests in progress. The requests of a killed
// client may still write for a moment.
func (r *Registry) Settle() {
	r.CloseClientConnections()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.running > 0 {
		r.ended.Wait()
	}
}

// Heal removes all injected faults.
func (r *Registry) Heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = nil
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	seen := &Request{Method: req.Method, Path: req.URL.Path, Query: req.URL.RawQuery,
		Authorization: req.Header.Get("Authorization"), Length: req.ContentLength}
	r.seen = append(r.seen, seen)
	faults := r.faults
	r.running++
	r.mu.Unlock()
	s := &statusWriter{ResponseWriter: w}
	defer func() {
		r.mu.Lock()
		seen.Status = s.status // the record gets its status even if Forget was called during the request
		r.running--
		r.ended.Broadcast()
		r.mu.Unlock()
	}()
	for _, f := range faults {
		if f(s, req, r.app) {
			return
		}
	}
	r.app.ServeHTTP(s, req)
}

// statusWriter records the status that an answer is sent with.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	if s.status != 0 {
		return // distribution sometimes calls this twice, and net/http would log that
	}
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusWriter) Write(p []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find the wrapped writer.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Requests returns the requests that were received since Forget was last called.
func (r *Registry) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Request, len(r.seen))
	for i, q := range r.seen {
		all[i] = *q
	}
	return all
}

// Kinds counts the requests of [Registry.Requests] by their [Request.Kind].
func (r *Registry) Kinds() map[string]int {
	kinds := map[string]int{}
	for _, req := range r.Requests() {
		kinds[req.Kind()]++
	}
	return kinds
}

// Forget forgets all requests that were received so far.
func (r *Registry) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = nil
}

// StatusOf returns the status of the answer to a GET request for url, or 0 if there is no answer.
func StatusOf(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
