package layouttest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// buildAll builds a tree with every builder function.
func buildAll(tb layouttest.TB, dir string) *layouttest.Tree {
	tree := layouttest.New(tb, dir)
	root := tree.Layout(".")
	image := root.Image(layouttest.Image{
		Name:       "image",
		Files:      map[string]string{"b/two": "2", "a/one": strings.Repeat("1", 1<<17)},
		Layers:     [][]byte{[]byte("raw")},
		LayerSizes: []int64{0, 70000},
	})
	root.Tag(image, "v1")
	root.Add(root.Image(layouttest.Image{ArtifactType: "application/vnd.example", Subject: &image}))
	root.Write()

	other := tree.Layout("modules/x")
	child := other.Image(layouttest.Image{Name: "child", Docker: true, Algorithm: digest.SHA512})
	other.Tag(other.Index(layouttest.Index{Docker: true, Children: []ocispec.Descriptor{child}}), "v2")
	other.Write()
	return tree
}

func TestOutputIsReproducible(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	buildAll(t, first)
	buildAll(t, second)
	if diff := cmp.Diff(layouttest.ReadFiles(t, first), layouttest.ReadFiles(t, second)); diff != "" {
		t.Error(diff)
	}
}

// This test fails if a new version of Go, or a change of the package, changes the output.
func TestOutputHasGoldenDigests(t *testing.T) {
	tree := buildAll(t, t.TempDir())
	got := map[string]digest.Digest{}
	for _, path := range []string{".", "modules/x"} {
		data, err := os.ReadFile(filepath.Join(tree.Layout(path).Dir(), ocispec.ImageIndexFile))
		if err != nil {
			t.Fatal(err)
		}
		got[path] = digest.FromBytes(data)
	}
	want := map[string]digest.Digest{
		".":         "sha256:93a43cfadd652f9514cef1e8cf8b7e9ca17c59506115437fc27aa37f597dba39",
		"modules/x": "sha256:afb3311193a31a90d0bbc88181c17702595424176e2342546a6b25fc33fa9c9a",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBlobsAreNamedByTheirDigest(t *testing.T) {
	dir := t.TempDir()
	buildAll(t, dir)
	blobs := 0
	for path, data := range layouttest.ReadFiles(t, dir) {
		elems := strings.Split(path, "/")
		n := len(elems)
		if n < 3 || elems[n-3] != ocispec.ImageBlobsDir {
			continue
		}
		blobs++
		want := digest.NewDigestFromEncoded(digest.Algorithm(elems[n-2]), elems[n-1])
		if got := want.Algorithm().FromString(data); got != want {
			t.Errorf("file %s: got content with the digest %s, want the digest in the file's name", path, got)
		}
	}
	if want := 11; blobs != want {
		t.Errorf("the tree contains %d blobs, want %d", blobs, want)
	}
}

func TestLayoutReturnsSameLayoutPerPath(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	if tree.Layout("install") != tree.Layout("install") {
		t.Error("Layout(install), twice: got different layouts, want the same")
	}
}

func TestLayoutRefusesIllegalPaths(t *testing.T) {
	for _, path := range []string{"", "..", "../x", "/x", "./x", "x/", "x//y"} {
		tb := &recorder{}
		func() {
			// Fatalf of a recorder panics, because Fatalf must not return.
			defer func() { _ = recover() }()
			layouttest.New(tb, t.TempDir()).Layout(path)
		}()
		if tb.message == "" {
			t.Errorf("Layout(%q): got no call of Fatalf, want one", path)
		}
	}
}

// recorder is a TB that records the message of Fatalf.
type recorder struct{ message string }

func (*recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.message = fmt.Sprintf(format, args...)
	panic(r.message)
}
