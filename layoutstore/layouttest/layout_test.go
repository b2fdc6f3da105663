package layouttest_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func TestTagWritesAnnotationsLikeD8(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	tree.Source = "example.com/root"
	for _, test := range []struct{ path, tag, want string }{
		{".", "v1", "example.com/root:v1"},
		{"modules/x", "v1", "example.com/root/modules/x:v1"},
		{".", "HEX", "example.com/root@sha256:HEX"},
		{"modules/x", "HEX", "example.com/root/modules/x@sha256:HEX"},
	} {
		l := tree.Layout(test.path)
		d := l.Image(layouttest.Image{Name: test.path})
		tag := strings.ReplaceAll(test.tag, "HEX", d.Digest.Encoded())
		l.Tag(d, tag)
		l.Write()
		manifests := readIndex(t, l).Manifests
		got := manifests[len(manifests)-1]
		d.Platform = &ocispec.Platform{}
		d.Annotations = map[string]string{
			layouttest.AnnotationShortTag: tag,
			ocispec.AnnotationRefName:     strings.ReplaceAll(test.want, "HEX", d.Digest.Encoded()),
		}
		if diff := cmp.Diff(d, got); diff != "" {
			t.Errorf("%s:%s: %s", test.path, tag, diff)
		}
	}
}

func TestTagDoesNotChangeDescriptor(t *testing.T) {
	l := layouttest.New(t, t.TempDir()).Layout(".")
	d := l.Image(layouttest.Image{})
	d.Annotations = map[string]string{"mine": "yes"}
	l.Tag(d, "one")
	if diff := cmp.Diff(map[string]string{"mine": "yes"}, d.Annotations); diff != "" {
		t.Error(diff)
	}
	if d.Platform.OS != "linux" {
		t.Errorf("platform of the descriptor after Tag: got %v, want linux", d.Platform)
	}
}

func TestAddToIndexAndWriteAgain(t *testing.T) {
	l := layouttest.New(t, t.TempDir()).Layout(".")
	l.Write()
	if raw := string(layouttest.ReadFile(t, filepath.Join(l.Dir(), "index.json"))); !strings.Contains(raw, `"manifests": []`) {
		t.Errorf("index.json without descriptors: got %s, want an empty list of manifests", raw)
	}
	d := l.Image(layouttest.Image{})
	d.Annotations = map[string]string{ocispec.AnnotationRefName: "bare"}
	l.Add(d)
	l.Write()
	if diff := cmp.Diff([]ocispec.Descriptor{d}, readIndex(t, l).Manifests); diff != "" {
		t.Error(diff)
	}
}

func readIndex(t *testing.T, l *layouttest.Layout) (index ocispec.Index) {
	t.Helper()
	decode(t, string(layouttest.ReadFile(t, filepath.Join(l.Dir(), ocispec.ImageIndexFile))), &index)
	return index
}

func decode(t *testing.T, data string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), v); err != nil {
		t.Fatal(err)
	}
}
