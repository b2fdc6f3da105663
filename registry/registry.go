// Package registry answers the read side of the OCI distribution specification
// 1.1 from a tree of layouts.
//
// [New] makes an http.Handler of a [Source]. A request takes one snapshot of the
// tree at the door and uses nothing else, so that it never sees half a change.
//
// What it promises: manifests byte for byte, blobs by every range, sizes and
// manifest digests always checked before the first byte. A write is refused
// with 405. Bodies are never encoded. A plain blob is sent by the kernel from
// the file it lies in, in HTTP/1.1 without TLS, if the middleware in front
// leaves io.ReaderFrom alone.
//
// The part of a path before the first /v2/ is ignored, because containerd's
// override_path asks below any.
package registry

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/gorilla/mux"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Source hands out the tree as it is now.
type Source interface {
	Snapshot() *layoutstore.Snapshot
}

// refresher is a Source that can look anew, which is done once for a request that
// finds a file changed since the last look.
type refresher interface {
	Refresh(context.Context) (layoutstore.Change, error)
}

// Options of a registry.
type Options struct {
	// Private says that answers are for one client only, as they are where
	// clients authenticate: shared caches must not keep them.
	Private bool
	// Refused is called for content that the tree names and that is not served,
	// with the repository and the reference asked for. It may be nil.
	Refused func(repository, reference string, err *layoutstore.ProblemError)
}

type registry struct {
	source    Source
	options   Options
	urls      *v2.URLBuilder
	immutable []string // Cache-Control of what a digest names
	lists     lists
}

// handler answers one request from one snapshot. What it returns as an error it
// has not answered.
type handler func(http.ResponseWriter, *http.Request, *layoutstore.Snapshot) error

// New makes the registry. Errors: a missing source.
func New(source Source, options Options) (http.Handler, error) {
	if source == nil {
		return nil, errors.New("registry without a source")
	}
	r := &registry{source: source, options: options, urls: v2.NewURLBuilder(&url.URL{}, true)}
	r.immutable = []string{"max-age=31536000, immutable"}
	if options.Private {
		r.immutable = []string{"private, max-age=31536000, immutable"}
	}
	router := mux.NewRouter()
	router.PathPrefix("/v2").Handler(r.handle(r.api))
	// Any prefix, and whatever is no path of the API.
	router.NotFoundHandler = r.handle(r.api)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// Not by the router's own ServeHTTP, which copies the request twice to hand
		// its variables on: a manifest has nothing else that costs as much.
		var match mux.RouteMatch
		router.Match(req, &match)
		match.Handler.ServeHTTP(w, req)
	}), nil
}

var apiVersion = []string{"registry/2.0"}

// refreshWait is how long a request waits for the sources to be scanned for its sake.
const refreshWait = 15 * time.Second

// handle takes the snapshot for h, and answers for its error.
func (r *registry) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header()["Docker-Distribution-Api-Version"] = apiVersion
		err := h(w, req, r.source.Snapshot())
		if source, ok := r.source.(refresher); ok && errors.Is(err, layoutstore.ErrStale) {
			ctx, cancel := context.WithTimeout(req.Context(), refreshWait)
			_, refreshErr := source.Refresh(ctx)
			cancel()
			if refreshErr == nil {
				err = h(w, req, r.source.Snapshot())
			}
		}
		if err != nil {
			r.serveError(w, req, err)
		}
	})
}
