package push_test

import (
	"os"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// If a manifest contradicts its descriptor or itself, a plan reports the manifest and leaves it
// out.
func TestContradictionsAreLeftOut(t *testing.T) {
	t.Parallel()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	l.Tag(l.Image(layouttest.Image{LayerSizes: []int64{10}}), "good")
	contradictions := l.Contradictions()
	l.Write()
	to := client.Reference{Registry: "localhost:1", Path: "mirror/ee"}
	plan, err := push.NewPlan(t.Context(), open(t, to, tree.Dir()), to, push.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	for tag := range contradictions {
		if !slices.ContainsFunc(plan.LeftOut, func(g layoutstore.Problem) bool { return slices.Contains(g.Tags, tag) }) {
			t.Errorf("no problem names the tag %s", tag)
		}
	}
	for _, r := range plan.Repositories {
		for _, tag := range r.Tags {
			if tag.Name != "good" && !tag.Discovery {
				t.Errorf("the plan contains %s:%s, which contradicts its descriptor or itself", r.Name, tag.Name)
			}
		}
	}
}

// A missing layer is a problem, even if it has URLs. Only if its media type makes it optional, the
// plan lists it as left out instead.
func TestLayersWithURLsAreRequired(t *testing.T) {
	t.Parallel()
	for mediaType, optional := range map[string]bool{
		ocispec.MediaTypeImageLayerGzip:                 false,
		ocispec.MediaTypeImageLayerNonDistributableGzip: true, //nolint:staticcheck // this media type is deprecated, but sources have it
	} {
		tree := layouttest.New(t, t.TempDir())
		l := tree.Layout("app")
		l.Tag(l.Image(layouttest.Image{Layers: [][]byte{[]byte("a layer")}, LayerMediaType: mediaType, LayerURLs: []string{"https://files.example/layer"}}), "v1")
		l.Write()
		if err := os.Remove(l.BlobPath(digest.FromString("a layer"))); err != nil {
			t.Fatal(err)
		}
		to := client.Reference{Registry: "localhost:1", Path: "mirror/ee"}
		plan, err := push.NewPlan(t.Context(), open(t, to, tree.Dir()), to, push.Selection{})
		if err != nil {
			t.Fatal(err)
		}
		if (len(plan.LeftOut) == 0) != optional || (len(plan.NonDistributable) == 1) != optional {
			t.Errorf("missing layer of type %s: got the problems %v, left-out layers %v", mediaType, plan.LeftOut, plan.NonDistributable)
		}
	}
}
