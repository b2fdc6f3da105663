// Package registry serves a tree of layouts by the read side of the OCI distribution
// specification 1.1.
//
// [New] makes an http.Handler of a [Source]. Each request takes one snapshot of the tree
// at its start and uses nothing else, so that it never sees half a change.
//
// Manifests are served byte for byte, and blobs with any range. Sizes and manifest digests
// are always checked before the first byte. A write is refused with 405. Bodies are never
// compressed. The kernel sends a plain blob directly from its file, in HTTP/1.1 without
// TLS, if the middleware in front keeps io.ReaderFrom.
//
// The part of a path before the first /v2/ is ignored, because containerd's override_path
// may put any path there.
package registry

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/gorilla/mux"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// Source provides the current tree.
type Source interface {
	Snapshot() *layoutstore.Snapshot
}

// refresher is a Source that can rescan. This is done once for a request that finds a file
// changed since the last scan.
type refresher interface {
	Refresh(context.Context) (layoutstore.Change, error)
}

// Options configure a registry.
type Options struct {
	// Private means that clients authenticate, so that shared caches must not store the answers.
	Private bool
	// Refused, if not nil, is called with the requested repository and reference when the
	// tree lists the content but it cannot be served.
	Refused func(repository, reference string, err *layoutstore.ProblemError)
	// Warnings, if not nil, returns the texts of Warning headers at the base of the API, which
	// clients show to users (distribution specification 1.1, "Warnings").
	Warnings func() []string
	// Reachable, if not nil, is called by requests for content of a bucket that could not be
	// reached. It waits until the bucket may be asked again, or returns the cause of the context
	// when it ends.
	Reachable func(context.Context) error
	// Redirect, if not nil, returns a URL from which the client can fetch the blob, or false if
	// the blob has to be sent from here. It is called only for GET, after all checks.
	Redirect func(context.Context, *layoutstore.Blob) (url string, ok bool)
}

type registry struct {
	source    Source
	options   Options
	urls      *v2.URLBuilder
	immutable []string // Cache-Control of content requested by digest
	lists     lists
}

// handler answers one request from one snapshot. If it returns an error, it has sent nothing.
type handler func(http.ResponseWriter, *http.Request, *layoutstore.Snapshot) error

// New makes the registry. It returns an error if there is no source.
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
	// A function, because the router would match a path prefix by a regular expression.
	router.MatcherFunc(func(req *http.Request, _ *mux.RouteMatch) bool { return strings.HasPrefix(req.URL.Path, "/v2") }).Handler(r.handle(r.api))
	// Any prefix, and any path outside of the API.
	router.NotFoundHandler = r.handle(r.api)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// The router's own ServeHTTP copies the request twice to pass its variables on,
		// which would be the most expensive part of serving a manifest.
		var match mux.RouteMatch
		router.Match(req, &match)
		match.Handler.ServeHTTP(w, req)
	}), nil
}

var apiVersion = []string{"registry/2.0"}

// refreshWait is how long a request waits for the rescan that it triggers.
const refreshWait = 15 * time.Second

// handle takes a snapshot for h, and answers if h returns an error.
func (r *registry) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header()["Docker-Distribution-Api-Version"] = apiVersion
		s := r.source.Snapshot()
		err := h(w, req, s)
		if source, ok := r.source.(refresher); ok && errors.Is(err, layoutstore.ErrStale) {
			ctx, cancel := context.WithTimeout(req.Context(), refreshWait)
			_, refreshErr := source.Refresh(ctx)
			cancel()
			if refreshErr == nil {
				s = r.source.Snapshot()
				err = h(w, req, s)
			}
		}
		if errors.Is(err, bucket.ErrUnreachable) {
			s, err = r.whenReachable(w, req, h, s, err)
		}
		if err != nil {
			r.serveError(w, req, withHiding(err, s))
		}
	})
}

// reachableWait is how long a request waits for an unreachable bucket: clients wait longer
// for an answer, and a store that restarts is back by then.
const reachableWait = 30 * time.Second

// whenReachable calls h again when the bucket can be reached again, until reachableWait has
// passed. Then it returns the last error. h has sent nothing so far.
func (r *registry) whenReachable(w http.ResponseWriter, req *http.Request, h handler, s *layoutstore.Snapshot, err error) (*layoutstore.Snapshot, error) {
	if r.options.Reachable == nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(req.Context(), reachableWait)
	defer cancel()
	for errors.Is(err, bucket.ErrUnreachable) && r.options.Reachable(ctx) == nil {
		s = r.source.Snapshot()
		err = h(w, req, s)
	}
	return s, err
}
