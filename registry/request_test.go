package registry_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry"
)

// FuzzRequest checks the answers to requests with any method, path, query and header. Each is
// either content with the digest that it states, or an error of the registry API. Nothing is
// written.
func FuzzRequest(f *testing.F) {
	b := newBundle(f)
	s := serve(f, layoutstore.Options{Sources: []string{b.Dir()}})
	paths := []string{"/", "/v2", "/v2/", "/v2/_catalog", "/a/v2/v2/tags/list", "/v2//tags/list", "/v2/../v2/", "/v2/x/manifests/", "/v2/x/blobs/uploads/"}
	for repo, tags := range b.tags {
		paths = append(paths, "/v2/"+repo+"/tags/list")
		for tag, d := range tags {
			paths = append(paths, "/v2/"+repo+"/manifests/"+tag, "/mirror/v2/"+repo+"/manifests/"+string(d),
				"/v2/"+repo+"/blobs/"+string(d), "/v2/"+repo+"/referrers/"+string(d))
		}
	}
	slices.Sort(paths)
	queries := []string{"", "ns=registry.example", "n=1", "n=0&last=v1", "n=-1", "n=99999999999999999999", "last=%00", "artifactType=a%2Fb", "digest=sha256:0", "n=1&n=2", "%zz"}
	headers := []string{"Range: bytes=0-", "If-None-Match: *", "If-Match: \"x\"", "Accept: text/plain", "If-Range: \"x\"", "Accept-Encoding: zstd", "Host: evil", "X-Forwarded-Host: evil", "Content-Length: -1", "If-Modified-Since: now", "Expect: 100-continue"}
	for i, path := range paths {
		f.Add([]string{"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "get"}[i%7], path, queries[i%len(queries)], headers[i%len(headers)])
		f.Add("GET", path, queries[(i+3)%len(queries)], headers[(i+5)%len(headers)])
	}
	f.Fuzz(func(t *testing.T, method, path, query, header string) {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Method, req.URL = method, &url.URL{Path: path, RawQuery: query}
		name, value, _ := strings.Cut(header, ":")
		req.Header[http.CanonicalHeaderKey(name)] = []string{strings.TrimSpace(value)}
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, req)
		checkAnswer(t, req, w)
		if kind, name := registry.Scope(req); kind == "repository" && !names.IsRepository(name) {
			t.Fatalf("Scope of the path %q returned the illegal repository %q, want a legal one", path, name)
		}
	})
}

func checkAnswer(t *testing.T, req *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	for name, values := range w.Header() {
		if strings.ContainsAny(name+strings.Join(values, ""), "\r\n") {
			t.Fatalf("the answer to %q has a header with a line break, want none: %s %q", req.URL.Path, name, values)
		}
	}
	read := req.Method == http.MethodGet || req.Method == http.MethodHead
	switch w.Code {
	case http.StatusOK, http.StatusPartialContent, http.StatusNotModified, http.StatusPreconditionFailed:
		if !read {
			t.Fatalf("%s %q: got status %d, want an error, because only GET and HEAD may succeed", req.Method, req.URL.Path, w.Code)
		}
		d := w.Header().Get("Docker-Content-Digest")
		if d != "" && req.Method == http.MethodGet && w.Code == http.StatusOK && digest.Digest(d).Algorithm().FromBytes(w.Body.Bytes()) != digest.Digest(d) {
			t.Fatalf("GET %q: the digest of the body differs from Docker-Content-Digest %s, want the same", req.URL.Path, d)
		}
		return
	case http.StatusMethodNotAllowed:
		if read {
			t.Fatalf("%s %q: got status %d, want another one, because GET and HEAD are allowed", req.Method, req.URL.Path, w.Code)
		}
	case http.StatusBadRequest, http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable:
	default:
		t.Fatalf("%s %q?%q: got status %d, want 200, 206, 304, 400, 404, 405, 412 or 416", req.Method, req.URL.Path, req.URL.RawQuery, w.Code)
	}
	var body struct {
		Errors []struct{ Code string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Code == "" {
		t.Fatalf("%s %q: got status %d, want exactly one JSON error in the body: %q", req.Method, req.URL.Path, w.Code, w.Body)
	}
}
