package layoutstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// The graph of a repository contains nested children and discovery images. It also contains missing
// manifests, each with its error.
func TestGraphHasChildrenAndMissingManifests(t *testing.T) {
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	l := tree.Layout("modules/a")
	leaf := l.Image(layouttest.Image{Name: "leaf"})
	l.Tag(l.Index(layouttest.Index{Children: []ocispec.Descriptor{leaf}}), "multi")
	lost := l.Image(layouttest.Image{Name: "lost"})
	l.Tag(lost, "lost")
	l.Write()
	if err := os.Remove(l.BlobPath(lost.Digest)); err != nil {
		t.Fatal(err)
	}
	opened, err := layoutstore.Open(context.Background(), layoutstore.Options{Sources: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	s := opened.Snapshot()
	if got := s.Paths(); !slices.Equal(got, []string{"modules", "modules/a"}) {
		t.Errorf("got the paths %q, want modules and modules/a", got)
	}
	if _, err := s.At("nobody"); !errors.Is(err, layoutstore.ErrRepositoryUnknown) {
		t.Error(err)
	}
	repo, err := s.At("modules/a")
	if err != nil {
		t.Fatal(err)
	}
	g, err := repo.Graph(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var whole int
	for _, m := range g.Manifests {
		var corrupt *layoutstore.ProblemError
		switch {
		case m.Digest == lost.Digest && (!errors.As(m.Unavailable, &corrupt) || corrupt.Problem.Kind != layoutstore.Incomplete):
			t.Errorf("missing manifest: got error %v, want a ProblemError of the kind incomplete", m.Unavailable)
		case m.Digest != lost.Digest && m.Unavailable != nil:
			t.Error(m.Unavailable)
		case m.Unavailable == nil:
			whole++
		}
		if repo.IsDiscovery(m.Digest) {
			t.Errorf("IsDiscovery(%s) = true, want false", m.Digest)
		}
	}
	if whole != 2 || len(g.Manifests) != 3 {
		t.Errorf("got %d intact manifests of %d, want 2 of 3", whole, len(g.Manifests))
	}

	names, err := s.At("modules")
	if err != nil {
		t.Fatal(err)
	}
	g, err = names.Graph(context.Background())
	if err != nil || len(g.Manifests) != 1 || len(g.Blobs) != 2 || !names.IsDiscovery(g.Manifests[0].Digest) {
		t.Errorf("Graph of the discovery tags = %+v, error %v; want 1 manifest, 2 blobs and no error", g, err)
	}
	if n := len(names.Layouts()); n != 0 {
		t.Errorf("Layouts of a repository with only discovery tags: got %d, want 0", n)
	}
}

// Index returns each valid descriptor unchanged, with its tag, and fails once index.json has changed.
func TestLayoutIndex(t *testing.T) {
	dir := t.TempDir()
	index := `{"schemaVersion":2,"manifests":[
		{"mediaType":"a","digest":"nonsense","size":1},
		{"mediaType":"b","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"annotations":{"io.deckhouse.image.short_tag":"v1","own":"kept"}}]}`
	file := filepath.Join(dir, "r", "index.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(index), 0o644); err != nil {
		t.Fatal(err)
	}
	tree, err := layoutstore.Open(context.Background(), layoutstore.Options{Sources: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := tree.Snapshot().At("r")
	if err != nil {
		t.Fatal(err)
	}
	layouts := repo.Layouts()
	if len(layouts) != 1 || layouts[0].Volume() != dir {
		t.Fatalf("got %d layouts, want one, in the volume that was opened", len(layouts))
	}
	if path, entry := layouts[0].Where(); path != filepath.Dir(file) || entry != "" {
		t.Errorf("Where returned path %q and entry %q, want the layout directory", path, entry)
	}
	entries, err := layouts[0].Index(t.Context())
	if err != nil || len(entries) != 1 {
		t.Fatalf("got %d index entries and error %v, want 1 entry", len(entries), err)
	}
	var raw struct{ Annotations map[string]string }
	if err := json.Unmarshal(entries[0].Raw, &raw); err != nil || raw.Annotations["own"] != "kept" || entries[0].Tag != "v1" || entries[0].Size != 2 {
		t.Errorf("got the index entry %+v and the error %v, want the tag v1, 2 bytes and the original annotations", entries[0], err)
	}
	if err := os.WriteFile(file, []byte(`{"schemaVersion":2,"manifests":[]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := layouts[0].Index(t.Context()); !errors.Is(err, layoutstore.ErrStale) {
		t.Errorf("Index after index.json was replaced: got error %v, want ErrStale", err)
	}
}
