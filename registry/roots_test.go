package registry_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// newRooted returns a tree with a layout at the root and a nested one. Both layouts contain source
// as the registry that they were pulled from.
func newRooted(tb testing.TB, source string) *layouttest.Tree {
	tb.Helper()
	tree := layouttest.New(tb, tb.TempDir())
	tree.Source = source
	for _, path := range []string{".", "install"} {
		l := tree.Layout(path)
		image(l, path, "v1")
		l.Write()
	}
	return tree
}

func (s *server) catalog() []string {
	s.Helper()
	return readList(s, s.get("/v2/_catalog"))
}

func TestRootsOfRepositories(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		source string
		roots  []string
		want   []string
	}{
		"auto":                     {layouttest.DefaultSource, []string{"auto"}, []string{"deckhouse/ee", "deckhouse/ee/install"}},
		"no option means auto":     {layouttest.DefaultSource, nil, []string{"deckhouse/ee", "deckhouse/ee/install"}},
		"auto, a host with port":   {"localhost:5000/x", []string{"auto"}, []string{"x", "x/install"}},
		"auto, without a host":     {"deckhouse/fe", []string{"auto"}, []string{"deckhouse/fe", "deckhouse/fe/install"}},
		"one":                      {layouttest.DefaultSource, []string{"system/deckhouse"}, []string{"system/deckhouse", "system/deckhouse/install"}},
		"several":                  {layouttest.DefaultSource, []string{"b", "a/c"}, []string{"a/c", "a/c/install", "b", "b/install"}},
		"auto and another root":    {layouttest.DefaultSource, []string{"auto", "sys"}, []string{"deckhouse/ee", "deckhouse/ee/install", "sys", "sys/install"}},
		"auto and the same root":   {layouttest.DefaultSource, []string{"deckhouse/ee", "auto"}, []string{"deckhouse/ee", "deckhouse/ee/install"}},
		"none":                     {layouttest.DefaultSource, []string{""}, []string{"install"}},
		"no root and another root": {layouttest.DefaultSource, []string{"", "sys"}, []string{"install", "sys", "sys/install"}},
		"auto finds no root":       {"", []string{"auto"}, []string{"install"}},
	} {
		t.Run(name, func(t *testing.T) {
			tree := newRooted(t, c.source)
			s := serve(t, layoutstore.Options{Sources: []string{tree.Dir()}, Roots: c.roots})
			if diff := cmp.Diff(c.want, s.catalog()); diff != "" {
				t.Error(diff)
			}
			for _, repository := range c.want {
				if got := s.tags(repository); !slices.Equal(got, []string{"v1"}) {
					t.Errorf("the repository %s has the tags %q, want only v1", repository, got)
				}
				s.get("/v2/"+repository+"/manifests/v1").wantStatus(t, http.StatusOK)
			}
			unnamed := !slices.ContainsFunc(c.want, func(name string) bool { return name != "install" })
			if problems := s.problems(); unnamed != (len(problems) == 1 && problems[0].Kind == layoutstore.IllegalName) {
				t.Errorf("problems %v", problems)
			}
		})
	}
}

func TestAllRootsServeSameImages(t *testing.T) {
	t.Parallel()
	tree := newRooted(t, layouttest.DefaultSource)
	s := serve(t, layoutstore.Options{Sources: []string{tree.Dir()}, Roots: []string{"auto", "", "a/b"}})
	want := s.get("/v2/install/manifests/v1")
	want.wantStatus(t, http.StatusOK)
	for _, root := range []string{"deckhouse/ee", "a/b"} {
		got := s.get("/v2/" + root + "/install/manifests/v1")
		if diff := cmp.Diff(string(want.body), string(got.body)); diff != "" {
			t.Errorf("%s: %s", root, diff)
		}
		if got := decode[struct{ Name string }](t, s.get("/v2/"+root+"/install/tags/list")).Name; got != root+"/install" {
			t.Errorf("under the root %s, the tag list has the name %q, want the name with that root", root, got)
		}
	}
	s.get("/v2/sys/install/tags/list").wantError(t, http.StatusNotFound, "NAME_UNKNOWN")
}

// newModules returns a tree of modules. One of them has no layout of its own, and one is empty.
func newModules(tb testing.TB) *layouttest.Tree {
	tb.Helper()
	tree := layouttest.New(tb, tb.TempDir())
	for _, path := range []string{"modules/console", "modules/console/release", "modules/csi-ceph/release", "deckhouse-cli/plugins/stronghold"} {
		l := tree.Layout(path)
		image(l, path, "v1")
		l.Write()
	}
	tree.Layout("modules/a-empty").Write()
	return tree
}

func TestDiscoveryTagsListModules(t *testing.T) {
	t.Parallel()
	s := serveBare(t, newModules(t).Dir())
	for repository, want := range map[string][]string{
		"modules":               {"a-empty", "console", "csi-ceph"},
		"deckhouse-cli/plugins": {"stronghold"},
		"modules/console":       {"v1"},
		"modules/a-empty":       {},
	} {
		if got := s.tags(repository); !slices.Equal(got, want) {
			t.Errorf("the repository %s has the tags %q, want %q", repository, got, want)
		}
		if !slices.Contains(s.catalog(), repository) {
			t.Errorf("the catalog does not contain %s, want it there", repository)
		}
	}
	for _, repository := range []string{"packages", "modules/csi-ceph", "deckhouse-cli"} {
		s.get("/v2/"+repository+"/tags/list").wantError(t, http.StatusNotFound, "NAME_UNKNOWN")
		if slices.Contains(s.catalog(), repository) {
			t.Errorf("the catalog contains %s, want only repositories with a layout or discovery tags", repository)
		}
	}
	if problems := s.problems(); len(problems) != 0 {
		t.Errorf("problems %v", problems)
	}
}

func TestDiscoveryImageIsComplete(t *testing.T) {
	t.Parallel()
	s := serve(t, layoutstore.Options{Sources: []string{newModules(t).Dir()}})
	const repository = bundleRoot + "/modules"
	r := s.get("/v2/" + repository + "/manifests/console")
	r.wantFile(t, "sha256:648ac37f092cc9b1b81b0d5677177e593f21508cecfcdcdcd431d90ce7187351", r.body)
	r.wantHeader(t, ocispec.MediaTypeImageManifest, "no-cache", digest.FromBytes(r.body), len(r.body))
	s.get("/v2/"+repository+"/manifests/"+digest.FromBytes(r.body).String()).wantFile(t, digest.FromBytes(r.body), r.body)
	manifest := decode[ocispec.Manifest](t, r)
	for _, d := range append(manifest.Layers, manifest.Config, ocispec.Descriptor{Digest: digest.FromBytes(r.body), Size: int64(len(r.body))}) {
		path := "/v2/" + repository + "/blobs/" + d.Digest.String()
		blob := s.get(path)
		if blob.status != http.StatusOK || digest.FromBytes(blob.body) != d.Digest || int64(len(blob.body)) != d.Size {
			t.Errorf("%s is answered with %d and %d bytes, want %d bytes", path, blob.status, len(blob.body), d.Size)
		}
		s.head(path).wantHeader(t, "application/octet-stream", immutable, d.Digest, int(d.Size))
		checkPartial(t, "bytes=3-8", s.get(path, "Range", "bytes=3-8"), blob.body, []span{{3, 8}})
	}
	config := decode[ocispec.Image](t, s.get("/v2/"+repository+"/blobs/"+manifest.Config.Digest.String()))
	if config.OS != "linux" || config.Architecture != "amd64" || config.Created.Unix() != 0 {
		t.Errorf("config %+v", config)
	}
}

func TestRealTagOverridesDiscoveryTag(t *testing.T) {
	t.Parallel()
	tree := newModules(t)
	l := tree.Layout("modules")
	own := image(l, "own", "console")
	image(l, "zone", "zone")
	l.Write()
	s := serveBare(t, tree.Dir())
	s.get("/v2/modules/manifests/console").wantFile(t, own, layouttest.ReadFile(t, l.BlobPath(own)))
	if got := s.tags("modules"); !slices.Equal(got, []string{"a-empty", "console", "csi-ceph", "zone"}) {
		t.Errorf("tags %q", got)
	}
	if problems := s.problems(); len(problems) != 0 {
		t.Errorf("problems %v", problems)
	}
}

func TestOtherDiscoveryDirectories(t *testing.T) {
	t.Parallel()
	tree := newModules(t)
	for name, c := range map[string]struct {
		indexes []string
		want    []string
	}{
		"another": {[]string{"deckhouse-cli"}, []string{"deckhouse-cli"}},
		"none":    {[]string{""}, nil},
	} {
		s := serve(t, layoutstore.Options{Sources: []string{tree.Dir()}, Roots: []string{""}, Indexes: c.indexes})
		var got []string
		for _, repository := range s.catalog() {
			if repository == "modules" || repository == "deckhouse-cli" {
				got = append(got, repository)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: the catalog contains %q, want %q", name, got, c.want)
		}
	}
}

// The digest of a discovery image depends only on the module's name, not on the rest of the tree.
func TestDiscoveryDigestsAreReproducible(t *testing.T) {
	t.Parallel()
	one := serveBare(t, newModules(t).Dir())
	tree := layouttest.New(t, t.TempDir())
	tree.Source = "registry.example/other"
	for _, path := range []string{"modules/console/extra/x", "modules/new"} {
		tree.Layout(path).Write()
	}
	two := serve(t, layoutstore.Options{Sources: []string{tree.Dir()}, Roots: []string{"other"}})
	first, second := one.head("/v2/modules/manifests/console"), two.head("/v2/other/modules/manifests/console")
	if diff := cmp.Diff(first.header.Get("Docker-Content-Digest"), second.header.Get("Docker-Content-Digest")); diff != "" || first.status != http.StatusOK {
		t.Errorf("HEAD of the discovery image: got status %d, want 200 and the same digest in both trees: %s", first.status, diff)
	}
	other := two.head("/v2/other/modules/manifests/new").header.Get("Docker-Content-Digest")
	if other == "" || other == first.header.Get("Docker-Content-Digest") {
		t.Errorf("a module with another name has the digest %q, want a different one", other)
	}
}
