package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry"
)

// server is a registry that listens on a port, together with a client that leaves the registry's
// answers unchanged.
type server struct {
	testing.TB
	url     string
	handler http.Handler
	tree    *layoutstore.Tree
	client  *http.Client

	mu      sync.Mutex
	refused []refusal // guarded by mu
}

// refusal contains the arguments of one call of Options.Refused.
type refusal struct {
	repository, reference string
	err                   *layoutstore.ProblemError
}

// serve opens a tree and serves it on a loopback address until the test ends.
func serve(tb testing.TB, o layoutstore.Options) *server {
	tb.Helper()
	tree, err := layoutstore.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	s := &server{TB: tb, tree: tree}
	s.handler, err = registry.New(tree, registry.Options{Refused: s.refuse})
	if err != nil {
		tb.Fatal(err)
	}
	s.listen(s.handler)
	return s
}

// serveBare serves a directory without a root, so that the path of a layout is the name of its
// repository.
func serveBare(tb testing.TB, dir string) *server {
	tb.Helper()
	return serve(tb, layoutstore.Options{Sources: []string{dir}, Roots: []string{""}})
}

// listen makes h answer the client's requests from now on.
func (s *server) listen(h http.Handler) {
	s.Helper()
	listening := httptest.NewUnstartedServer(h)
	listening.Config.ConnContext = registry.ConnContext
	listening.Start()
	transport := &http.Transport{DisableCompression: true}
	s.Cleanup(func() {
		transport.CloseIdleConnections()
		listening.Close()
	})
	s.url = listening.URL
	s.client = &http.Client{
		Transport:     transport,
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (s *server) refuse(repository, reference string, err *layoutstore.ProblemError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, refusal{repository, reference, err})
}

// refusals returns the calls of Options.Refused since refusals was called last.
func (s *server) refusals() []refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	heard := s.refused
	s.refused = nil
	return heard
}

type response struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request and reads the answer. header contains names and values in turn. do checks
// what must be true for all answers: they have the API version, no Content-Encoding, and the
// right Content-Length.
func (s *server) do(method, path string, header ...string) response {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "zstd, gzip")
	for pair := range slices.Chunk(header, 2) {
		req.Header.Add(pair[0], pair[1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	// The buffer is allocated once, because growing it is very slow with the race detector.
	content := bytes.NewBuffer(make([]byte, 0, max(resp.ContentLength, 0)+bytes.MinRead))
	if n, err := content.ReadFrom(resp.Body); err != nil {
		s.Fatalf("the body of %s %s ended after %d bytes with the error %v, want the complete body", method, path, n, err)
	}
	body := content.Bytes()
	if got := resp.Header.Values("Content-Encoding"); len(got) != 0 || resp.Uncompressed {
		s.Errorf("the answer to %s %s has the Content-Encoding %q, want none", method, path, got)
	}
	if got := resp.Header.Get("Docker-Distribution-Api-Version"); got != "registry/2.0" {
		s.Errorf("the answer to %s %s has the Docker-Distribution-Api-Version %q, want registry/2.0", method, path, got)
	}
	if method == http.MethodHead && len(body) > 0 {
		s.Errorf("the answer to HEAD %s has a body of %d bytes, want none", path, len(body))
	}
	if n := resp.ContentLength; method != http.MethodHead && n >= 0 && n != int64(len(body)) {
		s.Errorf("the answer to %s %s has Content-Length %d, want the length of its body, %d", method, path, n, len(body))
	}
	return response{resp.StatusCode, resp.Header, body}
}

func (s *server) get(path string, header ...string) response {
	s.Helper()
	return s.do(http.MethodGet, path, header...)
}

func (s *server) head(path string, header ...string) response {
	s.Helper()
	return s.do(http.MethodHead, path, header...)
}

// problems returns the problems that are known after the tree was checked completely.
func (s *server) problems() []layoutstore.Problem {
	s.Helper()
	snapshot := s.tree.Snapshot()
	if err := snapshot.Check(s.Context(), 1); err != nil {
		s.Fatal(err)
	}
	return problemsOf(snapshot)
}

func (r response) wantStatus(tb testing.TB, status int) {
	tb.Helper()
	if r.status != status {
		tb.Fatalf("status %d, want %d: %.300q", r.status, status, r.body)
	}
}

// wantError checks that the answer to a GET request is an error in the format of the
// specification. It returns the detail of the error.
func (r response) wantError(tb testing.TB, status int, code string) (detail any) {
	tb.Helper()
	if r.status != status {
		tb.Errorf("the status is %d, want %d with the code %s: %.300q", r.status, status, code, r.body)
		return nil
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		tb.Errorf("the %d response has the Content-Type %q, want application/json", r.status, got)
	}
	if got := r.header.Get("Cache-Control"); got != "" && got != "no-cache" && got != "no-store" {
		tb.Errorf("the %d response has the Cache-Control %q, want none, no-cache or no-store", r.status, got)
	}
	var doc struct {
		Errors []struct {
			Code, Message string
			Detail        any
		}
	}
	if err := json.Unmarshal(r.body, &doc); err != nil || len(doc.Errors) != 1 {
		tb.Errorf("got an error body in the wrong format (%v), want one in the format of the specification: %.300q", err, r.body)
		return nil
	}
	if e := doc.Errors[0]; e.Code != code || e.Message == "" {
		tb.Errorf("the error has the code %q and the message %q, want the code %q", e.Code, e.Message, code)
	}
	return doc.Errors[0].Detail
}

// wantFile checks that the answer contains the complete content, and its digest.
func (r response) wantFile(tb testing.TB, d digest.Digest, content []byte) {
	tb.Helper()
	if r.status != http.StatusOK || string(r.body) != string(content) {
		tb.Errorf("%s is answered with %d and %d bytes, want the %d bytes of the file", d, r.status, len(r.body), len(content))
	}
	if got := r.header.Get("Docker-Content-Digest"); got != d.String() {
		tb.Errorf("Docker-Content-Digest is %q, want %q", got, d)
	}
}

func decode[T any](tb testing.TB, r response) (v T) {
	tb.Helper()
	if err := json.Unmarshal(r.body, &v); err != nil {
		tb.Fatalf("%v: %.300q", err, r.body)
	}
	return v
}

func (s *server) tags(repository string) []string {
	s.Helper()
	r := s.get("/v2/" + repository + "/tags/list")
	r.wantStatus(s, http.StatusOK)
	return decode[struct{ Tags []string }](s, r).Tags
}

// image creates a small image whose content depends on name, and tags it.
func image(l *layouttest.Layout, name, tag string) digest.Digest {
	d := l.Image(layouttest.Image{Name: name, LayerSizes: []int64{300}})
	l.Tag(d, tag)
	return d.Digest
}

// problemsOf returns the problems of a snapshot. If they cannot be read, it returns a problem
// with the error.
func problemsOf(s *layoutstore.Snapshot) []layoutstore.Problem {
	all, err := s.Problems(context.Background())
	if err != nil {
		return []layoutstore.Problem{{Reason: err.Error()}}
	}
	return all
}
