package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// front is a proxy that makes a read-only server writable. It stores all writes as OCI layouts,
// which the server serves. It forwards all other requests to the server. So a suite that pushes
// content can test the server.
type front struct {
	dir    string // directory of the layouts that the server serves
	server server
	reads  http.Handler
	fail   func(format string, args ...any) // reports an error of the front itself

	mu      sync.Mutex // held during each write and the rescan after it
	uploads map[string]*upload
}

func newFront(t *testing.T, dir string, s server) *front {
	return &front{
		dir:     dir,
		server:  s,
		reads:   httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.registry}),
		fail:    t.Errorf,
		uploads: map[string]*upload{},
	}
}

// (.+) is the name of a repository, which may contain slashes.
var (
	uploadPath   = regexp.MustCompile(`^/v2/(.+)/blobs/uploads/([^/]*)$`)
	blobPath     = regexp.MustCompile(`^/v2/(.+)/blobs/([^/]+)$`)
	manifestPath = regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)
)

// statusError is an error that the front sends to the client, with its HTTP status.
type statusError struct {
	status int
	reason string
}

func (e statusError) Error() string { return e.reason }

var (
	errBadDigest  = statusError{http.StatusBadRequest, "digest is malformed or does not match the content"}
	errUnknown    = statusError{http.StatusNotFound, "unknown"}
	errOutOfOrder = statusError{http.StatusRequestedRangeNotSatisfiable, "chunk out of order"}
	errMethod     = statusError{http.StatusMethodNotAllowed, "method not allowed"}
)

func (f *front) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	write := f.route(req)
	if write == nil {
		f.reads.ServeHTTP(w, req)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	err := write(w, req)
	var answer statusError
	switch {
	case errors.As(err, &answer):
		http.Error(w, answer.reason, answer.status)
	case err != nil:
		f.fail("front: %s %s: %v", req.Method, req.URL, err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// write is a handler for a request that changes a repository.
type write func(w http.ResponseWriter, req *http.Request) error

// route returns the handler for a request. It returns nil if the server must handle the request.
func (f *front) route(req *http.Request) write {
	path := req.URL.Path
	if m := uploadPath.FindStringSubmatch(path); m != nil {
		return f.in(m[1], func(l layout, w http.ResponseWriter, req *http.Request) error {
			return f.upload(l, m[1], m[2], w, req)
		})
	}
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		return nil
	}
	if m := manifestPath.FindStringSubmatch(path); m != nil {
		return f.in(m[1], func(l layout, w http.ResponseWriter, req *http.Request) error {
			return f.manifest(l, m[1], m[2], w, req)
		})
	}
	if m := blobPath.FindStringSubmatch(path); m != nil && req.Method == http.MethodDelete {
		return f.in(m[1], func(l layout, w http.ResponseWriter, req *http.Request) error {
			return f.deleteBlob(l, m[2], w, req)
		})
	}
	return func(http.ResponseWriter, *http.Request) error { return errMethod }
}

// in returns a handler that calls write with the layout of a repository, or answers 404 if it is missing.
func (f *front) in(name string, write func(layout, http.ResponseWriter, *http.Request) error) write {
	return func(w http.ResponseWriter, req *http.Request) error {
		l := layout(filepath.Join(f.dir, filepath.FromSlash(name)))
		if !l.exists() {
			return errUnknown
		}
		return write(l, w, req)
	}
}

// commitBlob writes a blob, waits for a rescan, and answers with the location of the blob.
func (f *front) commitBlob(l layout, name, dgst string, data []byte, w http.ResponseWriter, req *http.Request) error {
	d, err := checked(dgst, data)
	if err != nil {
		return err
	}
	if err := l.writeBlob(d, data); err != nil {
		return err
	}
	return f.created(req.Context(), w, fmt.Sprintf("/v2/%s/blobs/%s", name, d), d)
}

// created makes the server rescan, and then answers 201 Created.
func (f *front) created(ctx context.Context, w http.ResponseWriter, location string, d digest.Digest) error {
	if err := f.server.rescan(ctx); err != nil {
		return err
	}
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// deleted makes the server rescan, and then answers 202 Accepted.
func (f *front) deleted(ctx context.Context, w http.ResponseWriter) error {
	if err := f.server.rescan(ctx); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// checked parses a digest, and verifies that the content matches it.
func checked(dgst string, data []byte) (digest.Digest, error) {
	d, err := digest.Parse(dgst)
	if err != nil || d.Algorithm().FromBytes(data) != d {
		return "", errBadDigest
	}
	return d, nil
}
