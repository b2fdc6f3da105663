// Package pulltest serves trees as registries, pulls from them, and lists the content of bundles.
// It is for tests of package pull and of its planners.
package pulltest

import (
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

// Flip changes one byte of a file. The file keeps its size and modification time.
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

// NothingPublished fails the test if dir contains anything except the working directory of a pull.
func NothingPublished(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	try(t, err)
	for _, e := range left {
		if e.Name() != ".tmp" {
			t.Errorf("the directory of the bundle contains %s, want only the working directory .tmp", e.Name())
		}
	}
}

// At matches requests whose path below /v2/ starts with one of the given paths.
func At(paths ...string) registrytest.Match {
	return func(r *http.Request) bool {
		return slices.ContainsFunc(paths, func(path string) bool { return strings.HasPrefix(r.URL.Path, "/v2/"+path) })
	}
}

// Absent answers 404 to requests whose path below /v2/ starts with one of the given paths.
func Absent(paths ...string) registrytest.Fault {
	return registrytest.Answer(At(paths...), http.StatusNotFound)
}

// Named returns the sorted names of the problems' content, as COMPONENT REPOSITORY:TAG or COMPONENT
// REPOSITORY@DIGEST.
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

// OpenAt opens sources below a root, without discovery tags. Tests see each layout at its own path.
func OpenAt(t *testing.T, root string, sources ...string) *layoutstore.Snapshot {
	t.Helper()
	return open(t, layoutstore.Options{Sources: sources, Roots: []string{root}, Indexes: []string{}, NoEditionSplit: true}).Snapshot()
}

// Open opens sources below a root, as a server would.
func Open(t *testing.T, root string, sources ...string) *layoutstore.Snapshot {
	t.Helper()
	return open(t, layoutstore.Options{Sources: sources, Roots: []string{root}}).Snapshot()
}

func open(t *testing.T, o layoutstore.Options) *layoutstore.Tree {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), o)
	try(t, err)
	return tree
}

func eachTag(t *testing.T, s *layoutstore.Snapshot, do func(name string, repo *layoutstore.Repository, tag string, d digest.Digest)) {
	t.Helper()
	names, _ := s.Repositories("", -1)
	for _, name := range names {
		repo, err := s.Repository(name)
		try(t, err)
		tags, _ := repo.Tags("", -1)
		for _, tag := range tags {
			d, err := repo.TagDigest(tag)
			try(t, err)
			do(name, repo, tag, d)
		}
	}
}

// Push pushes everything that the tags of a snapshot lead to. It adds no referrers tags.
func Push(t *testing.T, r *registrytest.Registry, s *layoutstore.Snapshot) {
	t.Helper()
	c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, Push: true})
	try(t, err)
	defer c.Close()
	eachTag(t, s, func(name string, repo *layoutstore.Repository, tag string, d digest.Digest) {
		pushManifest(t, c, repo, name, tag, d)
	})
}

// pushManifest pushes the content of a manifest, and then the manifest under a tag or its digest.
func pushManifest(t *testing.T, c *client.Client, repo *layoutstore.Repository, name, reference string, d digest.Digest) {
	t.Helper()
	m, err := repo.Manifest(t.Context(), d)
	try(t, err)
	refs, err := closure.Parse(m.Body)
	try(t, err)
	for _, ref := range refs.Blobs {
		b, err := repo.Blob(t.Context(), ref.Digest)
		try(t, err)
		_, err = c.Upload(t.Context(), client.Upload{Repository: name, Digest: b.Digest, Size: b.Size,
			Open: func() (io.ReadSeekCloser, error) { return b.Open(t.Context()) }})
		try(t, err)
	}
	for _, child := range refs.Children {
		pushManifest(t, c, repo, name, child.Digest.String(), child.Digest)
	}
	_, err = c.PutManifest(t.Context(), name, reference, client.Manifest{MediaType: m.MediaType, Digest: d, Body: m.Body})
	try(t, err)
}

// Options returns the options of a pull from a path of a registry into a new directory.
func Options(t *testing.T, r *registrytest.Registry, path string) pull.Options {
	t.Helper()
	c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, FirstPause: time.Millisecond})
	try(t, err)
	t.Cleanup(c.Close)
	return pull.Options{Registry: c, Source: client.Reference{Registry: r.Host, Path: path}, Dir: t.TempDir()}
}

// Run pulls a bundle. It fails the test if the pull fails or leaves its working directory behind.
func Run(t *testing.T, o pull.Options) *pull.Report {
	t.Helper()
	report, err := pull.Run(t.Context(), o, nil)
	try(t, err)
	if _, err := os.Stat(o.Dir + "/.tmp"); err == nil {
		t.Errorf("after the pull, the working directory %s/.tmp exists, want it removed", o.Dir)
	}
	return report
}

// Listed returns the digest of each tag that a snapshot serves, by REPOSITORY:TAG.
func Listed(t *testing.T, s *layoutstore.Snapshot) map[string]string {
	t.Helper()
	all := map[string]string{}
	eachTag(t, s, func(name string, _ *layoutstore.Repository, tag string, d digest.Digest) {
		all[name+":"+tag] = d.String()
	})
	return all
}

// Intact fails the test if a server of this snapshot would report a problem.
func Intact(t *testing.T, s *layoutstore.Snapshot) {
	t.Helper()
	try(t, s.Check(t.Context(), 2))
	problems, err := s.Problems(t.Context())
	try(t, err)
	for _, p := range problems {
		t.Error(p)
	}
}

// ProveAll fails the test unless all content that tags lead to has the right digest.
func ProveAll(t *testing.T, s *layoutstore.Snapshot) {
	t.Helper()
	eachTag(t, s, func(name string, repo *layoutstore.Repository, tag string, top digest.Digest) {
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
					t.Errorf("content of %s:%s does not have the expected digest %s, or cannot be read: %v", name, tag, ref.Digest, err)
				}
				r.Close()
			}
		}
	})
}

// Serve serves a tree as a registry with a referrers API. refresh rescans the tree.
func Serve(t *testing.T, dir string) (r *registrytest.Registry, refresh func()) {
	t.Helper()
	tree := open(t, layoutstore.Options{Sources: []string{dir}, Roots: []string{""}, Indexes: []string{}})
	h, err := registry.New(tree, registry.Options{})
	try(t, err)
	return registrytest.New(t, registrytest.Options{Handler: h}), func() {
		t.Helper()
		_, err := tree.Refresh(t.Context())
		try(t, err)
	}
}

// NoPauses is a clock whose pauses take no time. It counts the pauses.
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

// Each matches the first n requests for each path. It ignores requests that m does not match.
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

// Pauses returns how many pauses there were.
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
