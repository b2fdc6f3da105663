// Package pulltest serves trees from which tests pull, pulls them, and lists the content of the
// bundles. It is for the tests of pull and of its planners.
package pulltest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/registry"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// Flip changes one byte of a file, but neither its size nor its modification time.
func Flip(t *testing.T, name string, at int64) {
	t.Helper()
	info, err := os.Stat(name)
	try(t, err)
	data, err := os.ReadFile(name)
	try(t, err)
	data[at] ^= 1
	try(t, os.WriteFile(name, data, 0o644))
	try(t, os.Chtimes(name, info.ModTime(), info.ModTime()))
}

// NothingPublished fails the test if dir contains anything but the working directory of a pull.
func NothingPublished(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	try(t, err)
	for _, e := range left {
		if e.Name() != ".tmp" {
			t.Errorf("published: %s", e.Name())
		}
	}
}

// At matches requests for paths that begin with one of the given paths.
func At(paths ...string) registrytest.Match {
	return func(r *http.Request) bool {
		return slices.ContainsFunc(paths, func(path string) bool { return strings.HasPrefix(r.URL.Path, "/v2/"+path) })
	}
}

// Absent answers 404 to requests for paths that begin with one of the given paths.
func Absent(paths ...string) registrytest.Fault {
	return registrytest.Answer(At(paths...), http.StatusNotFound)
}

// Named returns problems as COMPONENT REPOSITORY:TAG or COMPONENT REPOSITORY@DIGEST, sorted.
func Named(problems []pull.Problem) (all []string) {
	for _, g := range problems {
		name := g.Component + " " + g.Repository
		if tag := g.Tag(); tag != "" {
			name += ":" + tag
		} else if g.Digest != "" {
			name += "@" + g.Digest.String()
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// OpenBare opens sources at their own paths, without discovery tags.
func OpenBare(t *testing.T, sources ...string) *layoutstore.Snapshot {
	return OpenAt(t, "", sources...)
}

// OpenAt opens sources below a root, without discovery tags, so that tests see each layout at its
// own path.
func OpenAt(t *testing.T, root string, sources ...string) *layoutstore.Snapshot {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: sources, Roots: []string{root}, Indexes: []string{}, NoEditionSplit: true})
	try(t, err)
	return tree.Snapshot()
}

// Open opens sources below a root, as a server would.
func Open(t *testing.T, root string, sources ...string) *layoutstore.Snapshot {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: sources, Roots: []string{root}})
	try(t, err)
	return tree.Snapshot()
}

// pusher pushes trees into a registry.
type pusher struct {
	t    *testing.T
	url  string
	have map[string]bool // repository and digest
}

// Push pushes everything that a snapshot serves; place returns the repository, "" to
// skip.
func Push(t *testing.T, r *registrytest.Registry, s *layoutstore.Snapshot, place func(string) string) {
	t.Helper()
	p := &pusher{t, r.URL, map[string]bool{}}
	names, _ := s.Repositories("", -1)
	for _, name := range names {
		repo, err := s.Repository(name)
		try(t, err)
		if name = place(name); name == "" {
			continue
		}
		tags, _ := repo.Tags("", -1)
		for _, tag := range tags {
			d, err := repo.TagDigest(tag)
			try(t, err)
			p.manifest(repo, name, tag, d)
		}
	}
}

func (p *pusher) manifest(repo *layoutstore.Repository, name, reference string, d digest.Digest) {
	p.t.Helper()
	m, err := repo.Manifest(p.t.Context(), d)
	try(p.t, err)
	refs, err := closure.Parse(m.Body)
	try(p.t, err)
	for _, b := range refs.Blobs {
		p.blob(repo, name, b.Digest)
	}
	for _, c := range refs.Children {
		p.manifest(repo, name, c.Digest.String(), c.Digest)
	}
	p.put(name, reference, m.MediaType, m.Body)
}

func (p *pusher) put(name, reference, mediaType string, body []byte) {
	p.t.Helper()
	p.do(http.MethodPut, p.url+"/v2/"+name+"/manifests/"+reference, mediaType, body, http.StatusCreated)
}

func (p *pusher) blob(repo *layoutstore.Repository, name string, d digest.Digest) {
	p.t.Helper()
	if p.have[name+d.String()] {
		return
	}
	b, err := repo.Blob(p.t.Context(), d)
	try(p.t, err)
	r, err := b.Open(p.t.Context())
	try(p.t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	try(p.t, err)
	p.upload(name, d, data)
}

func (p *pusher) upload(name string, d digest.Digest, data []byte) {
	p.t.Helper()
	h := p.do(http.MethodPost, p.url+"/v2/"+name+"/blobs/uploads/", "", nil, http.StatusAccepted)
	target := h.Get("Location")
	if strings.HasPrefix(target, "/") {
		target = p.url + target
	}
	p.do(http.MethodPut, target+"&digest="+d.String(), "application/octet-stream", data, http.StatusCreated)
	p.have[name+d.String()] = true
}

func (p *pusher) do(method, url, mediaType string, body []byte, want int) http.Header {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, url, bytes.NewReader(body))
	try(p.t, err)
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	resp, err := http.DefaultClient.Do(req)
	try(p.t, err)
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != want {
		p.t.Fatalf("%s %s: %s: %s", method, url, resp.Status, answer)
	}
	return resp.Header
}

// Options returns the options of a pull of a registry's path into a new directory.
func Options(t *testing.T, r *registrytest.Registry, path string) pull.Options {
	t.Helper()
	c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, FirstPause: time.Millisecond})
	try(t, err)
	t.Cleanup(c.Close)
	return pull.Options{Registry: c, Source: client.Reference{Registry: r.Host, Path: path}, Dir: t.TempDir()}
}

// Run pulls, and fails the test if the pull fails or leaves its working directory.
func Run(t *testing.T, o pull.Options) *pull.Report {
	t.Helper()
	report, err := pull.Run(t.Context(), o, nil)
	try(t, err)
	if _, err := os.Stat(o.Dir + "/.tmp"); err == nil {
		t.Errorf("%s/.tmp is left", o.Dir)
	}
	return report
}

// Listed returns the digest of each tag that a snapshot serves, by REPOSITORY:TAG.
func Listed(t *testing.T, s *layoutstore.Snapshot) map[string]string {
	t.Helper()
	all := map[string]string{}
	names, _ := s.Repositories("", -1)
	for _, name := range names {
		repo, err := s.Repository(name)
		try(t, err)
		tags, _ := repo.Tags("", -1)
		for _, tag := range tags {
			d, err := repo.TagDigest(tag)
			try(t, err)
			all[name+":"+tag] = d.String()
		}
	}
	return all
}

// Intact fails the test if a server would report a problem.
func Intact(t *testing.T, s *layoutstore.Snapshot) {
	t.Helper()
	try(t, s.Check(t.Context(), 2))
	problems, err := s.Problems(t.Context())
	try(t, err)
	for _, p := range problems {
		t.Error(p)
	}
}

// ProveAll fails the test if any content that a tag leads to does not have its digest.
func ProveAll(t *testing.T, s *layoutstore.Snapshot) {
	t.Helper()
	names, _ := s.Repositories("", -1)
	for _, name := range names {
		repo, err := s.Repository(name)
		try(t, err)
		tags, _ := repo.Tags("", -1)
		for _, tag := range tags {
			top, err := repo.TagDigest(tag)
			try(t, err)
			for todo := []digest.Digest{top}; len(todo) > 0; todo = todo[1:] {
				m, err := repo.Manifest(t.Context(), todo[0])
				try(t, err)
				refs, err := closure.Parse(m.Body)
				try(t, err)
				for _, c := range refs.Children {
					todo = append(todo, c.Digest)
				}
				for _, ref := range refs.Blobs {
					b, err := repo.Blob(t.Context(), ref.Digest)
					try(t, err)
					r, err := b.Open(t.Context())
					try(t, err)
					v := ref.Digest.Verifier()
					if _, err := io.Copy(v, r); err != nil || !v.Verified() {
						t.Errorf("%s:%s: content is not %s: %v", name, tag, ref.Digest, err)
					}
					r.Close()
				}
			}
		}
	}
}

// Serve serves a tree, with a referrers API, and rescans it at refresh.
func Serve(t *testing.T, dir string) (r *registrytest.Registry, refresh func()) {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Roots: []string{""}, Indexes: []string{}})
	try(t, err)
	h, err := registry.New(tree, registry.Options{})
	try(t, err)
	return registrytest.New(t, registrytest.Options{Handler: h}), func() {
		t.Helper()
		_, err := tree.Refresh(t.Context())
		try(t, err)
	}
}

// NoPauses is a clock whose pauses take no time. It counts them.
type NoPauses struct {
	mu     sync.Mutex
	pauses int
}

// Now implements client.Clock.
func (*NoPauses) Now() time.Time { return time.Now() }

// Sleep implements client.Clock.
func (c *NoPauses) Sleep(ctx context.Context, _ time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pauses++
	return ctx.Err()
}

// Each matches the first n requests for each path, among those that m matches.
func Each(n int, m registrytest.Match) registrytest.Match {
	var mu sync.Mutex
	asked := map[string]int{}
	return func(r *http.Request) bool {
		if !m(r) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		asked[r.URL.Path]++
		return asked[r.URL.Path] <= n
	}
}

// Pauses returns the number of pauses.
func (c *NoPauses) Pauses() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pauses
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
