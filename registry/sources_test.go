package registry_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// twoSources returns two layouts with the same path in two trees. serveBoth serves both trees, and
// the second tree takes precedence.
func twoSources(tb testing.TB) (first, second *layouttest.Layout, serveBoth func() *server) {
	a, b := layouttest.New(tb, tb.TempDir()), layouttest.New(tb, tb.TempDir())
	return a.Layout("app"), b.Layout("app"), func() *server {
		tb.Helper()
		return serve(tb, layoutstore.Options{Sources: []string{a.Dir(), b.Dir()}, Roots: []string{""}})
	}
}

func TestSourcesAreMerged(t *testing.T) {
	t.Parallel()
	first, second, serveBoth := twoSources(t)
	loser := image(first, "loser", "v1")
	only := image(first, "only", "first")
	winner := image(second, "winner", "v1")
	first.Write()
	second.Write()
	s := serveBoth()
	if got := s.tags("app"); !slices.Equal(got, []string{"first", "v1"}) {
		t.Errorf("tags %q", got)
	}
	s.get("/v2/app/manifests/v1").wantFile(t, winner, layouttest.ReadFile(t, second.BlobPath(winner)))
	s.get("/v2/app/manifests/first").wantFile(t, only, layouttest.ReadFile(t, first.BlobPath(only)))
	s.get("/v2/app/manifests/"+loser.String()).wantFile(t, loser, layouttest.ReadFile(t, first.BlobPath(loser)))
	problems := s.problems()
	if len(problems) != 1 || problems[0].Kind != layoutstore.Conflict || problems[0].Tag() != "v1" || problems[0].Repository != "app" {
		t.Errorf("the problems are %v, want the conflict about v1", problems)
	}
}

// If two trees contain the same image, it is served as one image. Content that is damaged in one
// tree is served from the other.
func TestSameDigestInTwoSources(t *testing.T) {
	t.Parallel()
	first, second, serveBoth := twoSources(t)
	same := image(first, "same", "v1")
	if other := image(second, "same", "v1"); other != same {
		t.Fatalf("the images have the digests %s and %s, want the same", same, other)
	}
	first.Write()
	second.Write()
	content := layouttest.ReadFile(t, first.BlobPath(same))
	layer := layerOf(t, first, same)
	layerContent := layouttest.ReadFile(t, first.BlobPath(layer))
	flip(t, second.BlobPath(same))
	overwrite(t, first.BlobPath(layer), []byte("short"))
	s := serveBoth()
	s.get("/v2/app/manifests/v1").wantFile(t, same, content)
	s.get("/v2/app/blobs/"+same.String()).wantStatus(t, http.StatusOK)
	s.get("/v2/app/blobs/"+layer.String()).wantFile(t, layer, layerContent)
	if got := s.tags("app"); !slices.Equal(got, []string{"v1"}) {
		t.Errorf("tags %q", got)
	}
}

func layerOf(tb testing.TB, l *layouttest.Layout, manifest digest.Digest) digest.Digest {
	tb.Helper()
	type doc struct {
		Layers []struct{ Digest digest.Digest }
	}
	return decode[doc](tb, response{body: layouttest.ReadFile(tb, l.BlobPath(manifest))}).Layers[0].Digest
}

func TestIntactCopyOfManifestIsServed(t *testing.T) {
	t.Parallel()
	first, second, serveBoth := twoSources(t)
	same := image(first, "same", "v1")
	image(second, "same", "v1")
	first.Write()
	second.Write()
	content := layouttest.ReadFile(t, first.BlobPath(same))
	flip(t, second.BlobPath(same))
	s := serveBoth()
	s.get("/v2/app/manifests/"+same.String()).wantFile(t, same, content)
	s.get("/v2/app/blobs/"+same.String()).wantFile(t, same, content)
}

func TestProblemNamesTheDamagedTree(t *testing.T) {
	t.Parallel()
	first, second, serveBoth := twoSources(t)
	bad := image(first, "bad", "v1")
	image(second, "good", "v2")
	first.Write()
	second.Write()
	flip(t, first.BlobPath(bad))
	problems := serveBoth().problems()
	if len(problems) != 1 || problems[0].Digest != bad {
		t.Fatalf("the problems are %v, want one about %s", problems, bad)
	}
	if !strings.HasPrefix(problems[0].Path, first.Dir()) {
		t.Errorf("the problem is at %s, want %s", problems[0].Path, first.Dir())
	}
}
