package registry_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Older tools use old repository names for content outside of editions. A request for an old name
// gets the answer for the current name, but the catalog does not contain the old names.
func TestOldRepositoryNames(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	s := serve(t, layoutstore.Options{Sources: []string{b.Dir()}})
	const current, old = "deckhouse/deckhouse-cli/plugins", "deckhouse/ee/deckhouse-cli/plugins"
	var paths []string
	for _, d := range b.manifests[current+"/stronghold"] {
		paths = append(paths, "/stronghold/manifests/"+d.Digest.String(), "/stronghold/referrers/"+d.Digest.String(), "/stronghold/blobs/"+d.Digest.String())
	}
	for tag, d := range b.tags[current+"/stronghold"] {
		paths = append(paths, "/stronghold/manifests/"+tag)
		for _, blob := range blobsOf(t, s, current+"/stronghold", d.String()) {
			paths = append(paths, "/stronghold/blobs/"+blob)
		}
	}
	paths = append(paths, "/manifests/stronghold", "/stronghold/manifests/nothing", "/stronghold/blobs/sha256:"+strings.Repeat("0", 64), "/nothing/tags/list")
	if len(paths) < 12 {
		t.Fatalf("got %d paths to request, want at least 12: %q", len(paths), paths)
	}
	for _, path := range paths {
		want, got := s.get("/v2/"+current+path), s.get("/v2/"+old+path)
		if got.status != want.status || got.status == http.StatusOK && string(got.body) != string(want.body) || got.header.Get("Docker-Content-Digest") != want.header.Get("Docker-Content-Digest") {
			t.Errorf("GET %s under the old name: got status %d and %d bytes, want %d and %d bytes, as under the current name", path, got.status, len(got.body), want.status, len(want.body))
		}
		if head := s.head("/v2/" + old + path); head.status != want.status {
			t.Errorf("HEAD %s under the old name: got status %d, want %d", path, head.status, want.status)
		}
	}
	for _, path := range []string{"", "/stronghold"} {
		list := decode[struct {
			Name string
			Tags []string
		}](t, s.get("/v2/"+old+path+"/tags/list"))
		if diff := cmp.Diff(s.tags(current+path), list.Tags); diff != "" || list.Name != old+path || len(list.Tags) == 0 {
			t.Errorf("the tag list of %s is %+v, want the tags of the current name; difference: %s", old+path, list, diff)
		}
	}
	page := s.get("/v2/" + old + "/stronghold/tags/list?n=1")
	if link := page.header.Get("Link"); !strings.HasPrefix(link, "</v2/"+old+"/stronghold/tags/list?") {
		t.Errorf("the Link to the next page is %q, want the old name in its path", link)
	}
	if slices.ContainsFunc(s.catalog(), func(name string) bool { return strings.HasPrefix(name, old) }) {
		t.Errorf("the catalog is %q, want no old names in it", s.catalog())
	}
	s.get("/v2/deckhouse/ee/deckhouse-cli/tags/list").wantError(t, http.StatusNotFound, "NAME_UNKNOWN")

	unsplit := serve(t, layoutstore.Options{Sources: []string{b.Dir()}, NoEditionSplit: true})
	unsplit.get("/v2/"+old+"/stronghold/tags/list").wantStatus(t, http.StatusOK)
	unsplit.get("/v2/"+current+"/stronghold/tags/list").wantError(t, http.StatusNotFound, "NAME_UNKNOWN")
	if !slices.Contains(unsplit.catalog(), old) {
		t.Errorf("without the edition split, the catalog is %q, want the old name in it", unsplit.catalog())
	}
}

// blobsOf returns the digests of the blobs in an image, or in all images of an index.
func blobsOf(t *testing.T, s *server, repository, reference string) (all []string) {
	t.Helper()
	m := decode[struct {
		Manifests, Layers []struct{ Digest string }
		Config            struct{ Digest string }
	}](t, s.get("/v2/"+repository+"/manifests/"+reference))
	for _, child := range m.Manifests {
		all = append(all, blobsOf(t, s, repository, child.Digest)...)
	}
	for _, layer := range m.Layers {
		all = append(all, layer.Digest)
	}
	if m.Config.Digest != "" {
		all = append(all, m.Config.Digest)
	}
	return all
}
