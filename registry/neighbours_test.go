package registry_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// neighbours serves a tree with content that similar programs serve wrongly.
type neighbours struct {
	*server
	app       *layouttest.Layout
	children  []digest.Digest // digests of the children of the index with the tag multi
	subject   ocispec.Descriptor
	referrers []digest.Digest // sorted
	blob      []byte
	truncated digest.Digest
}

func newNeighbours(tb testing.TB) *neighbours {
	tb.Helper()
	tree := layouttest.New(tb, tb.TempDir())
	root := tree.Layout(".")
	image(root, "root", "v1.70.1")
	root.Write()
	n := &neighbours{app: tree.Layout("app"), blob: bytes.Repeat([]byte("blob"), 1000)}
	n.images()
	n.attach()
	n.app.Write()
	overwrite(tb, n.app.BlobPath(n.truncated), []byte("to be"))
	n.server = serve(tb, layoutstore.Options{Sources: []string{tree.Dir()}})
	return n
}

func (n *neighbours) images() {
	var children []ocispec.Descriptor
	for _, arch := range []string{"amd64", "arm64"} {
		d := n.app.Image(layouttest.Image{Name: arch, Platform: &ocispec.Platform{OS: "linux", Architecture: arch}})
		children, n.children = append(children, d), append(n.children, d.Digest)
	}
	n.app.Tag(n.app.Index(layouttest.Index{Children: children}), "multi")
	n.subject = n.app.Image(layouttest.Image{Layers: [][]byte{n.blob, []byte("to be cut")}})
	n.app.Tag(n.subject, "v1")
	n.truncated = digest.FromString("to be cut")
	// skopeo and crane write layouts like this: the annotation contains the complete reference
	// instead of the tag.
	d := n.app.Image(layouttest.Image{Name: "reference"})
	d.Annotations = map[string]string{ocispec.AnnotationRefName: "registry.example:5000/deckhouse/ee/app:by-reference"}
	n.app.Add(d)
}

func (n *neighbours) attach() {
	for i, tag := range []string{"sbom", ""} {
		d := n.app.Image(layouttest.Image{Name: fmt.Sprint(i), ArtifactType: "application/vnd.example", Subject: &n.subject,
			Annotations: map[string]string{"number": fmt.Sprint(i)}})
		if tag == "" {
			n.app.Add(d)
		} else {
			n.app.Tag(d, tag)
		}
		n.referrers = append(n.referrers, d.Digest)
	}
	slices.Sort(n.referrers)
}

const neighbour = "/v2/" + bundleRoot + "/app"

// Other programs that serve layouts had these faults. Each of them broke a client.
func TestFaultsOfOtherServers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*neighbours, *testing.T){
		"child manifests of a multi-arch layout are 404 (zot)":                  (*neighbours).childManifests,
		"referrers are missing (registry:3), or empty for untagged (olareg)":    (*neighbours).missingReferrers,
		"referrers are listed for content that has none, or without their type": (*neighbours).wrongReferrers,
		"Range bytes=N- is answered with 416 (crane) or no bytes (mindthegap)":  (*neighbours).openRanges,
		"no ETag and no 304 (olareg, zot, crane)":                               (*neighbours).noETag,
		"a truncated blob is answered with 200 (olareg, zot)":                   (*neighbours).truncatedBlob,
		"a complete reference is listed as a tag (olareg, zot)":                 (*neighbours).referenceAsTag,
		"the root layout is not served (olareg, zot)":                           (*neighbours).rootLayout,
		"n=0 panics (olareg)":                                             (*neighbours).noEntries,
		"tag lists and the catalog have no Link header":                   (*neighbours).noLink,
		"HEAD of a blob is 405 (ociregistry)":                             (*neighbours).headOfBlob,
		"an unknown repository is answered with 200 (olareg)":             (*neighbours).unknownRepository,
		"a refused manifest is served as a blob, so containerd continues": (*neighbours).manifestAsBlob,
		"an empty tag list is null, which clients cannot read (crane)":    (*neighbours).nullTags,
	} {
		t.Run(name, func(t *testing.T) { test(newNeighbours(t), t) })
	}
}

func (n *neighbours) childManifests(t *testing.T) {
	index := decode[ocispec.Index](t, n.get(neighbour+"/manifests/multi"))
	if len(index.Manifests) != len(n.children) {
		t.Fatalf("%d children", len(index.Manifests))
	}
	for i, d := range n.children {
		r := n.get(neighbour + "/manifests/" + d.String())
		r.wantFile(t, d, layouttest.ReadFile(t, n.app.BlobPath(d)))
		if got := r.header.Get("Content-Type"); got != ocispec.MediaTypeImageManifest || index.Manifests[i].Digest != d {
			t.Errorf("child %d: Content-Type is %q, want that of an image manifest, and the same child in the index", i, got)
		}
		n.head(neighbour+"/manifests/"+d.String()).wantStatus(t, http.StatusOK)
	}
}

func (n *neighbours) missingReferrers(t *testing.T) {
	index := decode[ocispec.Index](t, n.get(neighbour+"/referrers/"+n.subject.Digest.String()))
	var got []digest.Digest
	for _, d := range index.Manifests {
		got = append(got, d.Digest)
	}
	if !slices.Equal(got, n.referrers) {
		t.Errorf("the referrers are %v, want %v", got, n.referrers)
	}
}

func (n *neighbours) wrongReferrers(t *testing.T) {
	for _, d := range decode[ocispec.Index](t, n.get(neighbour+"/referrers/"+n.subject.Digest.String())).Manifests {
		if d.ArtifactType != "application/vnd.example" || d.Annotations["number"] == "" || d.Size == 0 {
			t.Errorf("%+v", d)
		}
	}
	for _, d := range append(slices.Clone(n.children), n.referrers...) {
		if got := decode[ocispec.Index](t, n.get(neighbour+"/referrers/"+d.String())).Manifests; got == nil || len(got) > 0 {
			t.Errorf("%s has the referrers %v, want an empty list", d, got)
		}
	}
}

func (n *neighbours) openRanges(t *testing.T) {
	path := neighbour + "/blobs/" + digest.FromBytes(n.blob).String()
	for _, first := range []int{0, 1, 2000, len(n.blob) - 1} {
		asked := fmt.Sprintf("bytes=%d-", first)
		checkPartial(t, asked, n.get(path, "Range", asked), n.blob, []span{{first, len(n.blob) - 1}})
	}
}

func (n *neighbours) noETag(t *testing.T) {
	for _, path := range []string{"/manifests/v1", "/manifests/" + n.subject.Digest.String(), "/blobs/" + digest.FromBytes(n.blob).String(), "/tags/list"} {
		etag := n.head(neighbour + path).header.Get("Etag")
		if etag == "" {
			t.Errorf("HEAD %s: the answer has no ETag, want one", path)
		}
		n.get(neighbour+path, "If-None-Match", etag).wantStatus(t, http.StatusNotModified)
	}
}

func (n *neighbours) truncatedBlob(t *testing.T) {
	path := neighbour + "/blobs/" + n.truncated.String()
	n.get(path).wantError(t, http.StatusNotFound, "BLOB_UNKNOWN")
	n.get(path, "Range", "bytes=0-1").wantError(t, http.StatusNotFound, "BLOB_UNKNOWN")
	n.head(path).wantStatus(t, http.StatusNotFound)
}

func (n *neighbours) referenceAsTag(t *testing.T) {
	if got := n.tags(bundleRoot + "/app"); !slices.Equal(got, []string{"by-reference", "multi", "sbom", "v1"}) {
		t.Errorf("tags %q", got)
	}
	n.get(neighbour+"/manifests/by-reference").wantStatus(t, http.StatusOK)
}

func (n *neighbours) rootLayout(t *testing.T) {
	if got := n.tags(bundleRoot); !slices.Equal(got, []string{"v1.70.1"}) {
		t.Errorf("tags %q", got)
	}
	n.get("/v2/"+bundleRoot+"/manifests/v1.70.1").wantStatus(t, http.StatusOK)
}

func (n *neighbours) noEntries(t *testing.T) {
	for _, path := range []string{neighbour + "/tags/list?n=0", "/v2/_catalog?n=0"} {
		r := n.get(path)
		if got := readList(t, r); len(got) > 0 || r.header.Get("Link") != "" {
			t.Errorf("%s has the entries %q and the Link %q, want neither", path, got, r.header.Get("Link"))
		}
	}
}

func (n *neighbours) noLink(t *testing.T) {
	for path, want := range map[string]int{neighbour + "/tags/list?n=1": 4, "/v2/_catalog?n=1": 2} {
		if got := n.walk(path, 1); len(got) != want {
			t.Errorf("%s has the entries %q, want %d of them", path, got, want)
		}
	}
}

func (n *neighbours) headOfBlob(t *testing.T) {
	r := n.head(neighbour + "/blobs/" + digest.FromBytes(n.blob).String())
	r.wantStatus(t, http.StatusOK)
	if got := r.header.Get("Content-Length"); got != fmt.Sprint(len(n.blob)) {
		t.Errorf("Content-Length %q", got)
	}
}

func (n *neighbours) unknownRepository(t *testing.T) {
	for _, path := range []string{"/tags/list", "/referrers/" + n.subject.Digest.String(), "/manifests/v1"} {
		n.get("/v2/no/such"+path).wantError(t, http.StatusNotFound, "NAME_UNKNOWN")
	}
}

func (n *neighbours) manifestAsBlob(t *testing.T) {
	d := newDamaged(t, func(d *damaged) { flip(t, d.layout.BlobPath(d.manifest.Digest)) })
	for _, kind := range []string{"manifests", "blobs"} {
		d.head("/v2/app/"+kind+"/"+d.manifest.Digest.String()).wantStatus(t, http.StatusNotFound)
	}
}

func (n *neighbours) nullTags(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	overwrite(t, tree.Layout("null").Dir()+"/index.json", []byte(`{"schemaVersion":2,"manifests":null}`))
	r := serveBare(t, tree.Dir()).get("/v2/null/tags/list")
	if string(r.body) != `{"name":"null","tags":[]}` {
		t.Errorf("%d %s", r.status, r.body)
	}
}
