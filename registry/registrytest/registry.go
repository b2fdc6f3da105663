// Package registrytest runs real registries for tests, and injects faults.
//
// Start with [New]: distribution v3 in this process, open, with basic authentication, or
// with tokens ([Options]). Each request is recorded ([Registry.Requests]), and a [Fault]
// may answer it instead.
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

	// Parts that the configuration names.
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/layoutproxy/layoutproxy/registry/auth/tokentest"
)

// The credentials that registries with authentication accept.
const (
	Username = "user"
	Password = "a-secret-password"
	// hash is the bcrypt hash of Password with the lowest cost.
	hash = "$2a$04$dy.BapuuCtmjGDiTopp46OIXKMilbBOEvtkrX1fKD1J4ISxE1Z6aG"
)

// TB is the part of testing.TB that a registry needs.
type TB interface {
	tokentest.TB
	Cleanup(func())
	TempDir() string
}

// Options configure the registry to run.
type Options struct {
	Dir   string // where it stores its content; empty: a new directory
	Basic bool   // with basic authentication
	Token bool   // with tokens from a server on another port
	// ReadOnly sets distribution's maintenance mode.
	ReadOnly bool
	TLS      bool
	// ClientCertificates requires a TLS client certificate from any issuer.
	ClientCertificates bool
	// Handler replaces distribution.
	Handler http.Handler
}

// Registry is a running registry.
type Registry struct {
	*httptest.Server
	Host   string  // host and port
	Tokens *Tokens // nil without tokens

	app     http.Handler
	mu      sync.Mutex
	faults  []Fault
	seen    []*Request
	running int        // number of requests in progress
	ended   *sync.Cond // a request has ended; its lock is mu
}

// Request is a request that arrived.
type Request struct {
	Method, Path, Query string
	Authorization       string
	Length              int64 // announced length of the body
	Status              int
}

// Kind returns the method and the kind of path, such as "PUT manifests" and "PATCH uploads".
func (r Request) Kind() string {
	for _, kind := range []string{"uploads", "manifests", "blobs", "tags", "referrers"} {
		if strings.Contains(r.Path, "/"+kind+"/") {
			return r.Method + " " + kind
		}
	}
	return r.Method + " " + r.Path
}

// Fault answers a request instead of the registry, or changes the answer of the registry,
// which is next. It returns false if it does neither.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler) bool

// New runs a registry until the test ends.
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

// Inject adds a fault before the existing ones.
func (r *Registry) Inject(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append([]Fault{f}, r.faults...)
}

// Settle closes all connections and waits for the requests in progress. A killed client leaves
// such requests behind, which still write for a moment.
func (r *Registry) Settle() {
	r.CloseClientConnections()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.running > 0 {
		r.ended.Wait()
	}
}

// Heal removes all faults.
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
		seen.Status = s.status // even if Forget was called meanwhile
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

// statusWriter records the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	if s.status != 0 {
		return // distribution sometimes calls it twice, which net/http would log
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

// Unwrap is for http.ResponseController.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Requests returns the requests so far.
func (r *Registry) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Request, len(r.seen))
	for i, q := range r.seen {
		all[i] = *q
	}
	return all
}

// Kinds counts the requests so far by [Request.Kind].
func (r *Registry) Kinds() map[string]int {
	kinds := map[string]int{}
	for _, req := range r.Requests() {
		kinds[req.Kind()]++
	}
	return kinds
}

// Forget forgets the requests so far.
func (r *Registry) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = nil
}

// StatusOf returns the status of the answer to a GET, or 0 if there is no answer.
func StatusOf(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
