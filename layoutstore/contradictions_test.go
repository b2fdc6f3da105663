package layoutstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// A manifest may contradict itself or its descriptor. Its tag is then listed, but the manifest is
// never served, by tag or by digest, as a manifest or as a blob. It makes no difference whether all
// manifests were read.
func TestContradictionsAreRefused(t *testing.T) {
	built := layouttest.New(t, t.TempDir())
	l := built.Layout("app")
	good := l.Image(layouttest.Image{LayerSizes: []int64{10}})
	l.Tag(good, "good")
	contradictions := l.Contradictions()
	bare := l.Blob("text/plain", []byte(`{"mediaType":"`+ocispec.MediaTypeImageManifest+`","layers":[]}`))
	l.Add(bare)
	l.Write()
	tree := openWith(t, layoutstore.Options{Sources: []string{built.Dir()}, Roots: []string{""}, Indexes: []string{}})
	repo, err := tree.Snapshot().At("app")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for tag, d := range contradictions {
			if got, err := repo.Tag(t.Context(), tag); err != nil || got.Digest != d.Digest {
				t.Errorf("Tag(%s): got error %v or a wrong digest, want the descriptor", tag, err)
			}
			if tag == "child" {
				continue // the index itself is valid, only its child is not
			}
			var corrupt *layoutstore.ProblemError
			if _, err := repo.Manifest(context.Background(), d.Digest); !errors.Is(err, layoutstore.ErrManifestUnknown) || !errors.As(err, &corrupt) {
				t.Errorf("tag %s: Manifest(digest): got error %v, want a ProblemError with ErrManifestUnknown", tag, err)
			}
			if _, err := repo.Blob(context.Background(), d.Digest); !errors.Is(err, layoutstore.ErrBlobUnknown) || !errors.As(err, &corrupt) {
				t.Errorf("tag %s: Blob(digest): got error %v, want a ProblemError with ErrBlobUnknown", tag, err)
			}
		}
		if _, err := repo.Manifest(context.Background(), bare.Digest); !errors.Is(err, layoutstore.ErrManifestUnknown) {
			t.Errorf("Manifest(digest whose descriptor has the type text/plain): got error %v, want ErrManifestUnknown", err)
		}
		if m, err := repo.Manifest(context.Background(), good.Digest); err != nil || m.MediaType != ocispec.MediaTypeImageManifest {
			t.Errorf("Manifest(digest of the valid image): got error %v or a wrong media type, want none", err)
		}
		check(t, tree)
	}
	problems := problemsOf(tree.Snapshot())
	in, err := tree.Snapshot().Audit(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	for tag := range contradictions {
		if !slices.ContainsFunc(problems, func(p layoutstore.Problem) bool { return p.Tag() == tag && p.Kind == layoutstore.Damaged }) {
			t.Errorf("Check: want a problem of kind damaged with the tag %s, got the problems %v", tag, problems)
		}
		if !slices.ContainsFunc(in.Problems, func(g layoutstore.Problem) bool { return slices.Contains(g.Tags, tag) && g.Kind == layoutstore.Damaged }) {
			t.Errorf("Audit: want a problem of kind damaged with the tag %s, got the problems %v", tag, in.Problems)
		}
	}
	if slices.ContainsFunc(in.Problems, func(g layoutstore.Problem) bool { return slices.Contains(g.Tags, "good") }) {
		t.Errorf("Audit: got the problems %v, want none with the tag good", in.Problems)
	}
}

// If descriptors disagree about the media type of a manifest, it is served with the right type. The
// wrong descriptor is a problem.
func TestManifestIsServedWithTheRightType(t *testing.T) {
	for _, wrongFirst := range []bool{false, true} {
		built := layouttest.New(t, t.TempDir())
		l := built.Layout("app")
		good := l.Image(layouttest.Image{Docker: true, LayerSizes: []int64{10}})
		wrong := good
		wrong.MediaType = ocispec.MediaTypeImageManifest
		if wrongFirst {
			l.Tag(wrong, "wrong")
			l.Tag(good, "good")
		} else {
			l.Tag(good, "good")
			l.Tag(wrong, "wrong")
		}
		l.Write()
		tree := openWith(t, layoutstore.Options{Sources: []string{built.Dir()}, Roots: []string{""}, Indexes: []string{}})
		repo, err := tree.Snapshot().At("app")
		if err != nil {
			t.Fatal(err)
		}
		if m, err := repo.Manifest(context.Background(), good.Digest); err != nil || m.MediaType != good.MediaType {
			t.Errorf("Manifest, wrong descriptor first: %v: got error %v or a wrong media type, want none", wrongFirst, err)
		}
		check(t, tree)
		if problems := problemsOf(tree.Snapshot()); len(problems) != 1 || problems[0].Digest != good.Digest {
			t.Errorf("got the problems %v, want one, of the image with two media types", problems)
		}
	}
}

// A missing layer is a problem even if it has urls. Only a media type makes a layer optional.
func TestURLsDoNotMakeLayersOptional(t *testing.T) {
	for mediaType, optional := range map[string]bool{
		ocispec.MediaTypeImageLayerGzip:                             false,
		ocispec.MediaTypeImageLayerNonDistributableGzip:             true, //nolint:staticcheck // old sources may have it
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": true,
	} {
		built := layouttest.New(t, t.TempDir())
		l := built.Layout("app")
		layer := l.Blob(mediaType, []byte("a layer"))
		remove(t, l.BlobPath(layer.Digest))
		layer.URLs = []string{"https://files.example/layer"}
		config := l.Blob(ocispec.MediaTypeImageConfig, []byte("{}"))
		l.Tag(l.Blob(ocispec.MediaTypeImageManifest, marshal(t, ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer}})), "v1")
		l.Write()
		tree := openWith(t, layoutstore.Options{Sources: []string{built.Dir()}, Roots: []string{""}, Indexes: []string{}})
		check(t, tree)
		if problems := problemsOf(tree.Snapshot()); (len(problems) == 0) != optional {
			t.Errorf("%s: Check found the problems %v; want none: %v", mediaType, problems, optional)
		}
		var problems, left []layoutstore.Problem
		_, err := tree.Snapshot().AuditWith(t.Context(), "app", layoutstore.Findings{
			Problem:          func(p layoutstore.Problem) { problems = append(problems, p) },
			NonDistributable: func(p layoutstore.Problem) { left = append(left, p) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if (len(problems) == 0) != optional || (len(left) == 1) != optional {
			t.Errorf("%s: an audit reports the problems %v and the non-distributable layers %v; want the missing layer in the second list if its type makes it optional, else in the first", mediaType, problems, left)
		}
	}
}

func check(t *testing.T, tree *layoutstore.Tree) {
	t.Helper()
	if err := tree.Snapshot().Check(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
