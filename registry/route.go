package registry

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// cut splits the path of a request at the first /v2/. It returns the part before it, and the path
// in the API after it.
func cut(path string) (prefix, api string, ok bool) {
	if i := strings.Index(path, "/v2/"); i >= 0 {
		return path[:i], path[i+len("/v2/"):], true
	}
	prefix, ok = strings.CutSuffix(path, "/v2")
	return prefix, "", ok
}

// api passes a request to the handler for its path. It splits paths from the right, because
// repository names contain slashes and may contain any keyword of the API.
func (r *registry) api(w http.ResponseWriter, req *http.Request, s *layoutstore.Snapshot) error {
	_, path, ok := cut(req.URL.Path)
	if !ok {
		return errRoute
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		if req.ContentLength != 0 {
			// Without this, net/http would wait for the request's body before it answers.
			w.Header().Set("Connection", "close")
		}
		return errMethod
	}
	switch path {
	case "":
		return r.base(w)
	case "_catalog":
		return r.catalog(w, req, s)
	}
	rest, last := cutLast(path)
	name, word := cutLast(rest)
	if name == "" {
		return errRoute
	}
	switch word {
	case "manifests":
		return r.manifests(w, req, s, name, last)
	case "blobs":
		return r.blobs(w, req, s, name, last)
	case "referrers":
		return r.referrers(w, req, s, name, last)
	case "tags":
		if last == "list" {
			return r.tags(w, req, s, name)
		}
	}
	return errRoute
}

// Route returns the route of a request, for metrics: base, catalog, manifests, blobs, tags,
// referrers or other.
func Route(req *http.Request) string {
	_, path, ok := cut(req.URL.Path)
	switch {
	case !ok:
		return "other"
	case path == "":
		return "base"
	case path == "_catalog":
		return "catalog"
	}
	rest, last := cutLast(path)
	_, word := cutLast(rest)
	switch {
	case word == "manifests" || word == "blobs" || word == "referrers":
		return word
	case word == "tags" && last == "list":
		return word
	}
	return "other"
}

// Scope returns the resource that a request reads, in the terms of distribution's token
// specification. That is "repository" and its name, or "registry" and "catalog". For other
// requests, Scope returns two empty strings.
func Scope(req *http.Request) (kind, name string) {
	switch Route(req) {
	case "base", "other":
		return "", ""
	case "catalog":
		return "registry", "catalog"
	}
	_, path, _ := cut(req.URL.Path)
	rest, _ := cutLast(path)
	if name, _ = cutLast(rest); !names.IsRepository(name) {
		return "", "" // no repository can have this name
	}
	return "repository", name
}

// cutLast splits off the last segment of a path.
func cutLast(path string) (before, last string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

func (r *registry) base(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", "2")
	if r.options.Warnings != nil {
		for _, text := range r.options.Warnings() {
			h.Add("Warning", warning(text))
		}
	}
	_, err := w.Write([]byte("{}"))
	return asSendError(err)
}

func parseDigest(s string) (digest.Digest, error) {
	if _, ok := names.SHA256Sum(digest.Digest(s)); ok { // nearly all digests are sha256, which needs no regular expression
		return digest.Digest(s), nil
	}
	d, err := digest.Parse(s)
	if err != nil {
		return "", fmt.Errorf("%w %.100q: %w", errDigest, s, err)
	}
	return d, nil
}

// repository finds the repository that a request names. check validates the digest, the tag or
// the query of the request. An illegal name is reported before an error of check, and an unknown
// name after it.
func repository(s *layoutstore.Snapshot, name string, check func() error) (*layoutstore.Repository, error) {
	repo, unknown := s.Repository(name)
	if unknown != nil && !names.IsRepository(name) {
		return nil, unknown
	}
	if err := check(); err != nil {
		return nil, err
	}
	return repo, unknown
}

func repositoryAndDigest(s *layoutstore.Snapshot, name, reference string) (repo *layoutstore.Repository, d digest.Digest, err error) {
	repo, err = repository(s, name, func() (err error) {
		d, err = parseDigest(reference)
		return err
	})
	return repo, d, err
}
