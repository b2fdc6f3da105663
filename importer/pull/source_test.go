package pull_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// open reads sources as a server would, below a root.
func open(t *testing.T, root string, sources ...string) *layoutstore.Snapshot {
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

// push pushes all that a snapshot serves; place says under which repository, "" for
// none.
func push(t *testing.T, r *registrytest.Registry, s *layoutstore.Snapshot, place func(string) string) {
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
			d, err := repo.Tag(tag)
			try(t, err)
			p.manifest(repo, name, tag, d.Digest)
		}
	}
}

func (p *pusher) manifest(repo *layoutstore.Repository, name, reference string, d digest.Digest) {
	p.t.Helper()
	m, err := repo.Manifest(context.Background(), d)
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
	b, err := repo.Blob(context.Background(), d)
	try(p.t, err)
	r, err := b.Open()
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

// options are those of a pull of a path of the registry into a new directory.
func options(t *testing.T, r *registrytest.Registry, path string) pull.Options {
	t.Helper()
	c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, FirstPause: time.Millisecond})
	try(t, err)
	t.Cleanup(c.Close)
	return pull.Options{Registry: c, Source: client.Reference{Registry: r.Host, Path: path}, Dir: t.TempDir()}
}

// run pulls, and fails the test if that fails or leaves anything behind.
func run(t *testing.T, o pull.Options) *pull.Report {
	t.Helper()
	report, err := pull.Run(t.Context(), o, nil)
	try(t, err)
	if _, err := os.Stat(o.Dir + "/.tmp"); err == nil {
		t.Errorf("%s/.tmp is left", o.Dir)
	}
	return report
}

// listed are the tags that a snapshot serves: repository, tag and digest.
func listed(t *testing.T, s *layoutstore.Snapshot) map[string]string {
	t.Helper()
	all := map[string]string{}
	names, _ := s.Repositories("", -1)
	for _, name := range names {
		repo, err := s.Repository(name)
		try(t, err)
		tags, _ := repo.Tags("", -1)
		for _, tag := range tags {
			d, err := repo.Tag(tag)
			try(t, err)
			all[name+":"+tag] = d.Digest.String()
		}
	}
	return all
}

// whole fails the test if a server would find fault with sources.
func whole(t *testing.T, s *layoutstore.Snapshot) {
	t.Helper()
	try(t, s.Check(t.Context(), 2))
	for _, p := range s.Problems() {
		t.Error(p)
	}
}

// proveAll fails the test if bytes of anything that is tagged are not those of its digest.
func proveAll(t *testing.T, s *layoutstore.Snapshot) {
	t.Helper()
	names, _ := s.Repositories("", -1)
	for _, name := range names {
		repo, err := s.Repository(name)
		try(t, err)
		tags, _ := repo.Tags("", -1)
		for _, tag := range tags {
			top, err := repo.Tag(tag)
			try(t, err)
			for todo := []digest.Digest{top.Digest}; len(todo) > 0; todo = todo[1:] {
				m, err := repo.Manifest(context.Background(), todo[0])
				try(t, err)
				refs, err := closure.Parse(m.Body)
				try(t, err)
				for _, c := range refs.Children {
					todo = append(todo, c.Digest)
				}
				for _, ref := range refs.Blobs {
					b, err := repo.Blob(context.Background(), ref.Digest)
					try(t, err)
					r, err := b.Open()
					try(t, err)
					v := ref.Digest.Verifier()
					if _, err := io.Copy(v, r); err != nil || !v.Verified() {
						t.Errorf("%s:%s: %s has other bytes: %v", name, tag, ref.Digest, err)
					}
					r.Close()
				}
			}
		}
	}
}

// expected is the table of what the field's own tool made of its bundle.
func expected(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("../../cmd/layoutproxy/testdata/d8/expected.tsv")
	try(t, err)
	all := map[string]string{}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		all[f[0]+":"+f[1]] = f[2]
	}
	return all
}

// addInstallChannels adds the channels of the install image to the table: the tool that
// wrote it gave them none yet. Of 2026-10-01, docs/mirror-bundle-layout.md of
// deckhouse-cli says where they point (6.1), which are the versions of the channels.
func addInstallChannels(want map[string]string) {
	for channel, version := range map[string]string{"alpha": "v1.70.1", "beta": "v1.70.1", "early-access": "v1.69.3", "stable": "v1.69.3", "rock-solid": "v1.68.2"} {
		want["deckhouse/ee/install:"+channel] = want["deckhouse/ee/install:"+version]
	}
}

// What the bundle of an older tool has is not fetched again, installer and all.
func overTheBundleOfAnOlderTool(t *testing.T, r *registrytest.Registry) {
	o := options(t, r, "deckhouse/ee")
	try(t, os.CopyFS(o.Dir, os.DirFS("../../cmd/layoutproxy/testdata/d8")))
	r.Forget()
	run(t, o)
	if n := r.Kinds()["GET blobs"]; n != 0 {
		t.Errorf("%d blobs were fetched", n)
	}
	whole(t, open(t, "deckhouse/ee", o.Dir))
}

// Blobs of a tree that is there already are not fetched for archives beside it.
func TestOverATree(t *testing.T) {
	s := lean(t)
	s.writeAll()
	r, _ := serveTree(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Selection = only(func(s *pull.Selection) { s.IncludeModules = []string{"stronghold"} })
	o.Tree = true
	run(t, o)
	o.Tree = false
	r.Forget()
	run(t, o)
	if n := r.Kinds()["GET blobs"]; n != 0 {
		t.Errorf("%d blobs were fetched", n)
	}
	whole(t, openAt(t, edition, o.Dir+"/module-stronghold.tar"))
}

// d8Source is a registry that holds what the field's own bundle was pulled from.
func d8Source(t *testing.T) *registrytest.Registry {
	t.Helper()
	r := registrytest.New(t, registrytest.Options{})
	push(t, r, open(t, "deckhouse/ee", "../../cmd/layoutproxy/testdata/d8"), func(name string) string { return name })
	return r
}

// A pull of a registry that holds what a bundle was made of serves the tags and digests
// of the bundle, no more and no less.
func TestParity(t *testing.T) {
	r := d8Source(t)
	o := options(t, r, "deckhouse/ee")
	r.Forget()
	run(t, o)
	s := open(t, "deckhouse/ee", o.Dir)
	whole(t, s)
	want, got := expected(t), listed(t, s)
	addInstallChannels(want)
	for key, d := range want {
		if d == "-" {
			want[key] = got[key]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	seen := map[string]bool{}
	for _, q := range r.Requests() {
		if key := q.Path[strings.LastIndex(q.Path, "/")+1:]; q.Kind() == "GET blobs" {
			if seen[key] {
				t.Errorf("%s was fetched twice", q.Path)
			}
			seen[key] = true
		}
	}
	t.Run("over the bundle of an older tool", func(t *testing.T) { overTheBundleOfAnOlderTool(t, r) })
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
