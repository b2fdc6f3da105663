package importer_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// A bundle is refused if one of its manifests contradicts its descriptor or itself. With
// AllowIncomplete, the import publishes all images without contradictions.
func TestContradictionsRefuseABundle(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/console")
	good := l.Image(layouttest.Image{Name: "good", LayerSizes: []int64{100}})
	l.Tag(good, "good")
	contradictions := l.Contradictions()
	l.Write()
	problems := refused(t, tree.Dir())
	for tag := range contradictions {
		if !slices.ContainsFunc(problems, func(p layoutstore.Problem) bool { return p.Tag() == tag && p.Kind == layoutstore.Damaged }) {
			t.Errorf("problems of the tag %s: got none of kind damaged, want one; all problems: %v", tag, problems)
		}
	}
	store := filepath.Join(importertest.Scratch(t), "store")
	i, err := importertest.NewWith(importer.Options{Store: store, AllowIncomplete: true})
	if err != nil {
		t.Fatal(err)
	}
	report, err := i.Import(t.Context(), tree.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if report.Tags != (importer.Tags{New: 1, LeftOut: len(contradictions)}) {
		t.Errorf("report %+v", report)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), importertest.Content{"modules/console": "", "modules/console:good": good.Digest.String()})
}

// layered writes a bundle of one image, and deletes the image's only layer. The layer's descriptor
// has the given media type and a URL.
func layered(t *testing.T, mediaType string) string {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	l.Tag(l.Image(layouttest.Image{Layers: [][]byte{[]byte("a layer")}, LayerMediaType: mediaType, LayerURLs: []string{"https://files.example/layer"}}), "v1")
	l.Write()
	if err := os.Remove(largestWith(t, tree.Dir(), "a layer")); err != nil {
		t.Fatal(err)
	}
	return tree.Dir()
}

// largestWith returns the path of the file below dir that has the content body.
func largestWith(t *testing.T, dir, body string) string {
	t.Helper()
	for name := range importertest.Files(t, dir) {
		if data, err := os.ReadFile(dir + name); err == nil && string(data) == body {
			return dir + name
		}
	}
	t.Fatalf("files with the content %q: got none, want one", body)
	return ""
}

// A bundle with a missing layer is refused, even if the layer has URLs. If the layer's media type
// makes it optional, the import succeeds, and its report lists the layer.
func TestMissingLayerWithURLs(t *testing.T) {
	if problems := refused(t, layered(t, ocispec.MediaTypeImageLayerGzip)); len(problems) != 1 || problems[0].Reason != problem.Missing {
		t.Errorf("problems %v", problems)
	}
	store := filepath.Join(importertest.Scratch(t), "store")
	report := importertest.Imported(t, store, layered(t, ocispec.MediaTypeImageLayerNonDistributableGzip)) //nolint:staticcheck // this media type is deprecated, but bundles may have it
	if n := report.NonDistributable; report.Tags.New != 1 || len(n) != 1 || n[0].Repository != "app" || n[0].Tag() != "v1" || n[0].Digest == "" {
		t.Errorf("report %+v", report)
	}
}
