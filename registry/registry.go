// Package registry serves a tree of layouts over the reading part of the OCI distribution
// specification 1.1.
//
// [New] makes an http.Handler from a [Source]. Each answer is made from one snapshot of the tree,
// so that it never shows half a change.
//
// Manifests are served byte for byte, and blobs with any range. Sizes and manifest digests are
// always checked before the first byte is sent. A write is refused with 405. Bodies are never
// compressed. In HTTP/1.1 without TLS, the kernel sends a blob directly from its file, if
// the middleware in front keeps io.ReaderFrom.
//
// The part of a path before the first /v2/ is ignored, because containerd's override_path may put
// any path there.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/gorilla/mux"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// Source provides the current snapshot of the tree.
type Source interface {
	Snapshot() *layoutstore.Snapshot
}

// refresher is a Source that can rescan. If a request finds a file that has changed since the
// last scan, the tree is rescanned once.
type refresher interface {
	Refresh(context.Context) (layoutstore.Change, error)
}

// Options configures a registry.
type Options struct {
	// Private means that clients have to log in. Then shared caches must not store the answers.
	Private bool
	// Refused is called if requested content is listed in the tree but cannot be served. It gets
	// the requested repository and reference. It may be nil.
	Refused func(repository, reference string, err *layoutstore.ProblemError)
	// Warnings returns texts for Warning headers in answers at the base of the API, which clients
	// show to users (distribution specification 1.1, "Warnings"). It may be nil.
	Warnings func() []string
	// Reachable is called if a bucket with the requested content could not be reached. It returns
	// nil when the bucket may be asked again, or the context's cause when the context ends. It may
	// be nil.
	Reachable func(context.Context) error
	// Redirect returns a URL from which the client can fetch the blob. If it returns false, the
	// registry sends the blob itself. It is called only for GET requests, after all checks. It
	// may be nil.
	Redirect func(context.Context, *layoutstore.Blob) (url string, ok bool)
}

type registry struct {
	source    Source
	options   Options
	urls      *v2.URLBuilder
	immutable []string // Cache-Control header of content that is requested by digest
	lists     lists
}

// handler answers one request from one snapshot. After an error other than a sendError, nothing was sent.
type handler func(http.ResponseWriter, *http.Request, *layoutstore.Snapshot) error

// New returns the handler of a registry. It returns an error if source is nil.
func New(source Source, options Options) (http.Handler, error) {
	if source == nil {
		return nil, errors.New("the registry needs a source")
	}
	r := &registry{source: source, options: options, urls: v2.NewURLBuilder(&url.URL{}, true)}
	r.immutable = []string{"max-age=31536000, immutable"}
	if options.Private {
		r.immutable = []string{"private, max-age=31536000, immutable"}
	}
	router := mux.NewRouter()
	// This is a function because the router would match a path prefix with a slower regular expression.
	router.MatcherFunc(func(req *http.Request, _ *mux.RouteMatch) bool { return strings.HasPrefix(req.URL.Path, "/v2") }).Handler(r.handle(r.api))
	// This handler also gets paths with other prefixes, and paths outside of the API.
	router.NotFoundHandler = r.handle(r.api)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// The router's own ServeHTTP copies the request twice to pass on its variables. That
		// would be the most expensive part of serving a manifest.
		var match mux.RouteMatch
		router.Match(req, &match)
		match.Handler.ServeHTTP(w, req)
	}), nil
}

var apiVersion = []string{"registry/2.0"}

// refreshWait is how long a request waits for the rescan that it triggers.
const refreshWait = 15 * time.Second

// handle returns an http.Handler that calls h with a snapshot. If h returns an error, it answers
// with that error.
func (r *registry) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header()["Docker-Distribution-Api-Version"] = apiVersion
		s, err := r.callWithRescan(w, req, h)
		if errors.Is(err, bucket.ErrUnreachable) {
			s, err = r.whenReachable(w, req, h, s, err)
		}
		if err != nil {
			r.serveError(w, req, withHiding(err, s))
		}
	})
}

// callWithRescan calls h with the current snapshot. If h finds a file that has changed since the last
// scan, callWithRescan rescans and calls h again. It returns the last snapshot that h got.
func (r *registry) callWithRescan(w http.ResponseWriter, req *http.Request, h handler) (*layoutstore.Snapshot, error) {
	s := r.source.Snapshot()
	err := h(w, req, s)
	source, ok := r.source.(refresher)
	if !ok || !errors.Is(err, layoutstore.ErrStale) {
		return s, err
	}
	ctx, cancel := context.WithTimeout(req.Context(), refreshWait)
	_, refreshErr := source.Refresh(ctx)
	cancel()
	if refreshErr != nil {
		return s, fmt.Errorf("%w: %w: %w", errNotRescanned, refreshErr, err)
	}
	s = r.source.Snapshot()
	err = h(w, req, s)
	if errors.Is(err, layoutstore.ErrStale) && hasFailingBucket(s) {
		err = fmt.Errorf("%w: %w", errNotRescanned, err)
	}
	return s, err
}

// hasFailingBucket reports whether the last scan could not read a bucket. Such a scan does not fail, but
// keeps the last state of the bucket.
func hasFailingBucket(s *layoutstore.Snapshot) bool {
	return slices.ContainsFunc(s.Sources(), func(source layoutstore.SourceStatus) bool {
		return source.State == "failing" && bucket.IsPlace(source.Path)
	})
}

// reachableWait is how long a request waits for an unreachable bucket. Clients wait longer than
// this for an answer, and a bucket that restarts is usually back by then.
const reachableWait = 30 * time.Second

// whenReachable calls h again each time the bucket may be reachable again. After reachableWait,
// it gives up and returns the last error. h must not have sent anything yet.
func (r *registry) whenReachable(w http.ResponseWriter, req *http.Request, h handler, s *layoutstore.Snapshot, err error) (*layoutstore.Snapshot, error) {
	if r.options.Reachable == nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(req.Context(), reachableWait)
	defer cancel()
	for errors.Is(err, bucket.ErrUnreachable) && r.options.Reachable(ctx) == nil {
		s, err = r.callWithRescan(w, req, h)
	}
	return s, err
}
