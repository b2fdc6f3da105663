package registry_test

import (
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// bundleRoot is the root that the image references in the bundle contain.
const bundleRoot = "deckhouse/ee"

// bundle is a tree with one example of each kind of content, and the expected answers.
type bundle struct {
	*layouttest.Tree
	// manifests maps each repository to all manifests that clients can request from it.
	manifests map[string][]ocispec.Descriptor
	// tags maps each repository to its tags, and each tag to its digest.
	tags map[string]map[string]digest.Digest
}

func newBundle(tb testing.TB) *bundle {
	tb.Helper()
	b := &bundle{
		Tree:      layouttest.New(tb, tb.TempDir()),
		manifests: map[string][]ocispec.Descriptor{},
		tags:      map[string]map[string]digest.Digest{},
	}
	b.rootLayout()
	b.multiArch()
	b.nestedIndexes()
	b.referrers()
	b.untagged()
	b.Layout("install-standalone").Write()
	return b
}

func (b *bundle) name(l *layouttest.Layout) string { return edition.Of(bundleRoot).Name(l.Path()) }

// reach records manifests that clients can request from a layout's repository.
func (b *bundle) reach(l *layouttest.Layout, ds ...ocispec.Descriptor) {
	b.manifests[b.name(l)] = append(b.manifests[b.name(l)], ds...)
}

func (b *bundle) tag(l *layouttest.Layout, d ocispec.Descriptor, tag string) {
	l.Tag(d, tag)
	b.reach(l, d)
	name := b.name(l)
	if b.tags[name] == nil {
		b.tags[name] = map[string]digest.Digest{}
	}
	b.tags[name][tag] = d.Digest
}

// rootLayout adds a layout with images in OCI and Docker formats, with sha256 and sha512 digests,
// an empty blob and large blobs.
func (b *bundle) rootLayout() {
	l := b.Layout(".")
	b.tag(l, l.Image(layouttest.Image{Name: "oci", Files: map[string]string{"etc/version": "v1"}, Layers: [][]byte{{}}}), "v1.70.1")
	b.tag(l, l.Image(layouttest.Image{Name: "docker", Docker: true, LayerSizes: []int64{5<<20 + 7, 1}}), "v1.70.2")
	sha512 := l.Image(layouttest.Image{Name: "sha512", Algorithm: digest.SHA512, LayerSizes: []int64{3<<20 + 1, 0}})
	b.tag(l, sha512, "v1.71.0")
	b.tag(l, sha512, "stable")
	l.Write()
}

// multiArch adds a Docker manifest list and an OCI index. Their children are not in index.json.
func (b *bundle) multiArch() {
	l := b.Layout("deckhouse-cli/plugins/stronghold")
	for _, docker := range []bool{true, false} {
		var children []ocispec.Descriptor
		for _, arch := range []string{"amd64", "arm64"} {
			children = append(children, l.Image(layouttest.Image{
				Name: arch, Docker: docker, LayerSizes: []int64{1000},
				Platform: &ocispec.Platform{OS: "linux", Architecture: arch},
			}))
		}
		b.reach(l, children...)
		tag := map[bool]string{true: "docker", false: "oci"}[docker]
		b.tag(l, l.Index(layouttest.Index{Docker: docker, Children: children}), tag)
	}
	l.Write()
}

// nestedIndexes adds three nested indexes. The outer one refers to the middle one by a sha512
// digest.
func (b *bundle) nestedIndexes() {
	l := b.Layout("modules/console/release")
	leaf := l.Image(layouttest.Image{Name: "leaf"})
	inner := l.Index(layouttest.Index{Children: []ocispec.Descriptor{leaf}})
	middle := l.Index(layouttest.Index{Children: []ocispec.Descriptor{inner}, Algorithm: digest.SHA512})
	b.reach(l, leaf, inner, middle)
	b.tag(l, l.Index(layouttest.Index{Children: []ocispec.Descriptor{middle}}), "nested")
	l.Write()
}

// referrers adds a tagged and an untagged referrer, and one that is listed only in an index.
func (b *bundle) referrers() {
	l := b.Layout("modules/console")
	subject := l.Image(layouttest.Image{Name: "console"})
	b.tag(l, subject, "v1.0.0")
	artifact := func(name string) ocispec.Descriptor {
		return l.Image(layouttest.Image{Name: name, ArtifactType: "application/vnd.example." + name, Subject: &subject})
	}
	b.tag(l, artifact("tagged"), "sha256-"+subject.Digest.Encoded()+".sig")
	untagged, nested := artifact("untagged"), artifact("nested")
	l.Add(untagged)
	index := l.Index(layouttest.Index{Children: []ocispec.Descriptor{nested}})
	l.Add(index)
	b.reach(l, untagged, nested, index)
	l.Write()
}

// untagged adds an image whose tag is its own digest, as in d8's bundles. It also adds an image
// without a tag, and a blob that nothing refers to.
func (b *bundle) untagged() {
	l := b.Layout("install")
	byDigest := l.Image(layouttest.Image{Name: "by digest"})
	b.tag(l, byDigest, byDigest.Digest.Encoded())
	none := l.Image(layouttest.Image{Name: "no tag"})
	l.Add(none)
	b.reach(l, none)
	l.Blob("text/plain", []byte("nothing names this blob"))
	l.Write()
}
