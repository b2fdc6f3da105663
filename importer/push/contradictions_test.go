package push_test

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// If a manifest contradicts its descriptor or itself, a plan leaves it out and reports it.
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
			t.Errorf("plan.LeftOut contains no problem with the tag %s, want one", tag)
		}
	}
	for _, r := range plan.Repositories {
		for _, tag := range r.Tags {
			if tag.Name != "good" && !tag.Discovery {
				t.Errorf("the plan contains %s:%s, want it left out, because it contradicts its descriptor or itself", r.Name, tag.Name)
			}
		}
	}
}

// A missing layer is a problem, even if it has URLs. But if its media type makes it optional, the
// plan only lists it in NonDistributable, and contains the image.
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
			t.Errorf("missing layer of type %s: got LeftOut %v and NonDistributable %v; want a problem in LeftOut: %v, and a layer in NonDistributable: %v", mediaType, plan.LeftOut, plan.NonDistributable, !optional, optional)
		}
	}
}

// A module that has images, but none of them intact, gets no discovery tag. Otherwise, the registry would
// list a module that it does not have. The plan says why. A module with an intact image, or without any
// image, keeps its tag.
func TestNoDiscoveryTagWithoutIntactImage(t *testing.T) {
	t.Parallel()
	tree := layouttest.New(t, t.TempDir())
	for path, lost := range map[string][]string{
		"modules/intact": nil, "modules/partly": {"v1"}, "modules/lost": {"v1", "v2"}, "modules/below": {"v1", "v2"},
	} {
		l := tree.Layout(path)
		for _, tag := range []string{"v1", "v2"} {
			layer := []byte(path + tag)
			l.Tag(l.Image(layouttest.Image{Name: path + tag, Layers: [][]byte{layer}}), tag)
			if slices.Contains(lost, tag) {
				layouttest.Try(t, os.Remove(l.BlobPath(digest.FromBytes(layer))))
			}
		}
		l.Write()
	}
	l := tree.Layout("modules/below/release") // this layout belongs to the module, too
	l.Tag(l.Image(layouttest.Image{LayerSizes: []int64{10}}), "v1")
	l.Write()
	tree.Layout("modules/empty").Write()
	s := &setup{registry: registrytest.New(t, registrytest.Options{})}
	to := client.Reference{Registry: s.registry.Host, Path: "mirror/ee"}
	var err error
	s.plan, err = push.NewPlan(t.Context(), open(t, to, tree.Dir()), to, push.Selection{})
	layouttest.Try(t, err)
	var got []string
	for _, r := range s.plan.Repositories {
		for _, tag := range r.Tags {
			if tag.Discovery {
				got = append(got, r.Name+":"+tag.Name)
			}
		}
	}
	want := []string{"mirror/ee/modules:below", "mirror/ee/modules:empty", "mirror/ee/modules:intact", "mirror/ee/modules:partly"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("discovery tags (-want +got):\n%s", diff)
	}
	notices := []string{"the discovery tag modules:lost is not pushed: no image of modules/lost is intact"}
	if diff := cmp.Diff(notices, s.plan.Outline().Notices); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
	s.dial(t)
	if summary, err := s.push(t.Context()); err != nil || !slices.Equal(summary.Notices, notices) || !slices.Equal(s.notices, notices) {
		t.Errorf("%q, %q, %v", summary.Notices, s.notices, err)
	}
}

// Run fails if its options have no plan or no client.
func TestRequiredOptions(t *testing.T) {
	t.Parallel()
	s := newSetup(t, registrytest.Options{}, push.Selection{})
	for _, o := range []push.Options{{}, {Plan: s.plan}, {Client: s.client}} {
		if _, err := push.Run(t.Context(), o); !errors.Is(err, push.ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
