// Package page serves the web pages at the admin address: health, imports and pushes, repositories
// and images, and how to configure a node.
//
// Start with [New]. A page shows what the registry API serves: each request takes one snapshot of
// the tree. Everything else is in a [Status], which the function Options.Status returns. That
// function is called at most once per second, however many pages are open.
//
// Every page is complete without JavaScript. With JavaScript, server-sent events update an open
// page at most once per second, and only when something changes (HTML standard, "Server-sent
// events"). Nothing is loaded from another host. The Content-Security-Policy forbids frames, inline
// scripts and styles, and forms that send data to other hosts.
//
// Names, tags, paths and annotations of a bundle are hostile text, which the templates escape. Those
// that may contain more than visible ASCII are printed only through the function t, which replaces
// characters that hide or reorder text by their code points.
package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Source provides the current snapshot of the tree.
type Source interface {
	Snapshot() *layoutstore.Snapshot
}

// Options configures the pages.
type Options struct {
	Source Source
	// Status returns the state of the server except for its tree. It must return promptly, even
	// if the storage hangs or its context has ended.
	Status func(context.Context) Status

	Registry Registry
	Version  string
	Now      func() time.Time
}

// Registry describes how clients reach the registry API.
type Registry struct {
	Address string // HOST:PORT on which the server listens
	TLS     bool
	Login   bool // true if clients have to log in
}

// Page serves the web pages. Call Close when the server stops: it ends the event streams.
type Page struct {
	options   Options
	router    *mux.Router
	templates map[string]*template.Template
	assetKey  string // part of the URLs of assets; it changes when an asset changes

	refreshing sync.Mutex
	current    atomic.Pointer[state]

	streams atomic.Int64
	closed  chan struct{}
	close   func()
}

//go:embed templates assets
var files embed.FS

// New prepares the pages. It returns an error if an option is missing.
func New(o Options) (*Page, error) {
	if o.Source == nil || o.Status == nil {
		return nil, errors.New("the pages need a source and a status")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Page{options: o, closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	if err := p.load(); err != nil {
		return nil, err
	}
	p.router = mux.NewRouter()
	for route, answer := range map[string]http.HandlerFunc{
		"/":                      p.overview,
		"/problems":              p.problems,
		"/repositories":          p.repositories,
		"/repository/{name:.+}":  p.repository,
		"/image/{reference:.+}":  p.image,
		"/events":                p.events,
		"/assets/{file:[a-z.]+}": p.asset,
	} {
		p.router.Path(route).Methods(http.MethodGet, http.MethodHead).HandlerFunc(answer)
	}
	p.router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p.fail(w, req, http.StatusNotFound, "There is no page at this address.")
	})
	p.router.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Allow", "GET, HEAD")
		p.fail(w, req, http.StatusMethodNotAllowed, "Only GET and HEAD are allowed.")
	})
	return p, nil
}

// Close ends all event streams, so that open pages do not delay the server's shutdown.
func (p *Page) Close() { p.close() }

// securityPolicy is the Content-Security-Policy header of every answer.
const securityPolicy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

func (p *Page) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", securityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	// With "no-referrer", browsers would send "Origin: null" with forms. The protection against
	// requests from other sites refuses that.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	p.router.ServeHTTP(w, req)
}

func (p *Page) load() error {
	base := template.New("").Funcs(functions())
	base, err := base.ParseFS(files, "templates/base.html", "templates/live.html", "templates/parts.html")
	if err != nil {
		return err
	}
	p.templates = map[string]*template.Template{"live": base}
	for _, name := range []string{"overview", "problems", "repositories", "repository", "image", "error"} {
		one, err := base.Clone()
		if err == nil {
			one, err = one.ParseFS(files, "templates/"+name+".html")
		}
		if err != nil {
			return err
		}
		p.templates[name] = one
	}
	names, err := fs.Glob(files, "assets/*")
	if err != nil {
		return err
	}
	sum := sha256.New()
	for _, name := range names {
		body, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		sum.Write(body)
	}
	p.assetKey = hex.EncodeToString(sum.Sum(nil)[:8])
	return nil
}

func (p *Page) asset(w http.ResponseWriter, req *http.Request) {
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	file := mux.Vars(req)["file"]
	body, err := files.ReadFile("assets/" + file)
	if err != nil {
		p.fail(w, req, http.StatusNotFound, "There is no such file.")
		return
	}
	h := w.Header()
	if req.URL.Query().Get("v") == p.assetKey {
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	h.Set("Content-Type", types[path.Ext(file)])
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// frame contains what all pages share, and the content of one page.
type frame struct {
	Title string
	// Nav is the entry of the navigation that is highlighted.
	Nav     string
	Query   string
	Assets  string
	Version string
	Pill    section
	Content any
}

func (p *Page) render(w http.ResponseWriter, req *http.Request, status int, name string, f frame) {
	f.Assets, f.Version = p.assetKey, p.options.Version
	f.Pill = p.state(req.Context()).sections["pill"]
	var b bytes.Buffer
	if err := p.templates[name].ExecuteTemplate(&b, "page", f); err != nil {
		http.Error(w, "rendering the page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// failure is the content of an error page: the text of the status, and the reason.
type failure struct{ Status, Reason string }

func (p *Page) fail(w http.ResponseWriter, req *http.Request, status int, reason string) {
	text := http.StatusText(status)
	p.render(w, req, status, "error", frame{Title: text, Content: failure{text, reason}})
}
