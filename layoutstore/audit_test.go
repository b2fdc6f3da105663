package layoutstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// If a layer and a manifest are written after an audit has listed their layout, but before it
// locates them, the audit reports both as missing. It does not panic.
func TestBlobsWrittenDuringAudit(t *testing.T) {
	built := layouttest.New(t, t.TempDir())
	l := built.Layout("app")
	layer := []byte("a layer that arrives late")
	l.Tag(l.Image(layouttest.Image{Name: "image", Layers: [][]byte{layer}}), "image")
	child := l.Image(layouttest.Image{Name: "child"})
	l.Tag(l.Index(layouttest.Index{Children: []specs.Descriptor{child}}), "index")
	l.Write()
	late := map[string]string{}
	for _, name := range []string{l.BlobPath(digest.FromBytes(layer)), l.BlobPath(child.Digest)} {
		late[name] = filepath.Join(t.TempDir(), "away")
		layouttest.Try(t, os.Rename(name, late[name]))
	}
	tree := openWith(t, layoutstore.Options{Sources: []string{built.Dir()}, Roots: []string{""}, Indexes: []string{}})
	missing := 0
	_, err := tree.Snapshot().AuditWith(t.Context(), "app", layoutstore.Findings{
		Blob: func(layoutstore.Stored) {
			for name, away := range late {
				layouttest.Try(t, os.Rename(away, name))
				delete(late, name)
			}
		},
		Problem: func(p layoutstore.Problem) {
			if p.Kind == layoutstore.Incomplete {
				missing++
			}
		},
	})
	if err != nil || missing != 2 || len(late) > 0 {
		t.Errorf("audit: got %d missing blobs, want 2; %d blobs not yet written, want 0; error %v, want none", missing, len(late), err)
	}
}
