package pull_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// credulous returns a registry that serves the content of a layout without any checks. It trusts
// the descriptors of the layout's index.
func credulous(t *testing.T, l *layouttest.Layout) *registrytest.Registry {
	t.Helper()
	data, err := os.ReadFile(l.Dir() + "/index.json")
	layouttest.Try(t, err)
	var index specs.Index
	layouttest.Try(t, json.Unmarshal(data, &index))
	tags, types := map[string]specs.Descriptor{}, map[string]string{}
	for _, d := range index.Manifests {
		tags[d.Annotations[layouttest.AnnotationShortTag]], types[d.Digest.String()] = d, d.MediaType
	}
	return registrytest.New(t, registrytest.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		at := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
		switch {
		case at == "": // the ping
			return
		case strings.Contains(req.URL.Path, "/tags/list"):
			var names []string
			for name := range tags {
				names = append(names, name)
			}
			slices.Sort(names)
			_ = json.NewEncoder(w).Encode(map[string]any{"name": "app", "tags": names})
			return
		case strings.Contains(req.URL.Path, "/referrers/"):
			http.NotFound(w, req)
			return
		}
		if d, ok := tags[at]; ok {
			at = d.Digest.String()
		}
		w.Header().Set("Content-Type", types[at])
		if types[at] == "" {
			w.Header().Set("Content-Type", "application/octet-stream")
		}
		w.Header().Set("Docker-Content-Digest", at)
		if digest.Digest(at).Validate() != nil {
			http.NotFound(w, req)
			return
		}
		http.ServeFile(w, req, l.BlobPath(digest.Digest(at)))
	})})
}

// A pull fails if content contradicts its descriptor, or if the kind of a manifest is ambiguous.
func TestContradictionsAreNotPulled(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	l.Tag(l.Image(layouttest.Image{LayerSizes: []int64{10}}), "good")
	contradictions := l.Contradictions()
	l.Write()
	o := pulltest.Options(t, credulous(t, l), "app")
	o.Planner = pull.Repositories{Paths: []string{"."}}
	_, err := pull.Run(t.Context(), o, nil)
	var incomplete *pull.IncompleteError
	if !errors.As(err, &incomplete) {
		t.Fatalf("got error %v, want *IncompleteError", err)
	}
	delete(contradictions, "text-for-image") // this is valid: the type text/plain in the response is ignored, and the type in the manifest applies
	for tag, d := range contradictions {
		if !slices.ContainsFunc(incomplete.Problems, func(g pull.Problem) bool { return g.Tag() == tag || g.Digest == d.Digest }) {
			t.Errorf("problems about the tag %s: got none, want at least one; all problems: %v", tag, incomplete.Problems)
		}
	}
	if slices.ContainsFunc(incomplete.Problems, func(g pull.Problem) bool { return g.Tag() == "good" }) {
		t.Errorf("problems about the valid tag good: got at least one, want none; all problems: %v", incomplete.Problems)
	}
}

// If the registry has a layer, the layer is pulled, even if its descriptor has URLs or a
// non-distributable media type. A layer may be missing only if its media type is non-distributable.
// The report then mentions the missing layer in a note.
func TestNonDistributableLayers(t *testing.T) {
	for mediaType, optional := range map[string]bool{
		specs.MediaTypeImageLayerGzip:                               false,
		specs.MediaTypeImageLayerNonDistributableGzip:               true, //nolint:staticcheck // this media type is deprecated, but sources have it
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": true,
	} {
		for _, there := range []bool{true, false} {
			tree := layouttest.New(t, t.TempDir())
			l := tree.Layout("app")
			layer := digest.FromString("a layer")
			image := l.Image(layouttest.Image{Layers: [][]byte{[]byte("a layer")}, LayerMediaType: mediaType, LayerURLs: []string{"https://files.example/layer"}})
			l.Tag(image, "v1")
			l.Write()
			if !there {
				layouttest.Try(t, os.Remove(l.BlobPath(layer)))
			}
			o := pulltest.Options(t, credulous(t, l), "app")
			o.Planner = pull.Repositories{Paths: []string{"."}}
			report, err := pull.Run(t.Context(), o, nil)
			var incomplete *pull.IncompleteError
			switch {
			case there || optional:
				layouttest.Try(t, err)
			case !errors.As(err, &incomplete):
				t.Errorf("%s: got error %v, want *IncompleteError", mediaType, err)
				continue
			default:
				continue
			}
			repo, err := pulltest.Open(t, "root", o.Dir).At(".")
			layouttest.Try(t, err)
			if _, err := repo.Blob(context.Background(), layer); (err == nil) != there {
				t.Errorf("%s, layer in the registry %v: reading the layer from the bundle: got error %v, want success only if the registry has the layer", mediaType, there, err)
			}
			noted := slices.ContainsFunc(report.Components[0].Notes, func(s string) bool {
				return strings.Contains(s, layer.String()) && strings.Contains(s, "v1")
			})
			if noted == there {
				t.Errorf("%s, layer in the registry %v: got the notes %q, want one about the layer only if the registry does not have it", mediaType, there, report.Components[0].Notes)
			}
		}
	}
}
