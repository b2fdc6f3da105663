// Package layouttest builds trees of OCI image layouts, for tests and for the generator of the
// samples in examples/.
//
// # Where to start
//
//	tree := layouttest.New(t, t.TempDir())
//	root := tree.Layout(".")
//	image := root.Image(layouttest.Image{Name: "one", LayerSizes: []int64{4096}})
//	root.Tag(image, "v1.70.1")
//	root.Write()
//
// [New] makes a [Tree]; [Tree.Layout] makes a directory in it, whose path is the repository path in the
// registry. [Layout.Image], [Layout.Index] and [Layout.Blob] write content and return its descriptor.
// [Layout.Tag] and [Layout.Add] add a descriptor to the index, and [Layout.Write] writes index.json. No other
// call writes it, because tests also need layouts without index.json, and content to which no index refers.
//
// [Tree.Bundle] packs the tree into the archives of a bundle, and [Tree.Archive] into one archive
// of any form. [Split] and [Cut] cut an archive into chunks. [Tar] writes archives entry by entry,
// even invalid ones.
//
// # What it promises
//
// The same calls make the same bytes, on every machine and with every version of Go, so that
// digests can be golden values. All times are in 1970, tar headers have no owner, gzip is written
// without a compressor, and random bytes come from ChaCha8 seeded with the image's name.
//
// All content is complete and valid unless the caller asks for something else. For damaged content, write a
// valid layout and change the file at [Layout.BlobPath]. To replace an index or remove a tag, make a new Tree
// for the same directory: its indexes are empty, and the blobs are still there.
//
// Errors end the test through [TB]. A Tree and its layouts are for one goroutine.
//
// The format is the image-layout.md of the OCI image specification, with the annotations that d8
// mirror pull adds.
package layouttest

import (
	"io/fs"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DefaultSource is the registry path that a new tree uses in references.
const DefaultSource = "registry.deckhouse.io/deckhouse/ee"

// TB is the part of testing.TB that the builders need. Programs other than tests can implement it.
// Fatalf must not return.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Tree is a directory that contains layouts.
type Tree struct {
	// Source is the registry path that Tag uses in references.
	Source string
	// OldNames makes Tag write references as d8 did until August 2026. The installer and the d8
	// program are then below the edition of Source instead of beside it.
	OldNames bool

	tb      TB
	dir     string
	layouts map[string]*Layout
}

// New returns a builder for a tree in dir. [Tree.Layout] creates dir if it is missing.
func New(tb TB, dir string) *Tree {
	return &Tree{Source: DefaultSource, tb: tb, dir: dir, layouts: map[string]*Layout{}}
}

// Dir returns the directory of the tree.
func (t *Tree) Dir() string { return t.dir }

// Layout returns the layout at a path below the tree. The path has slashes; "." is the root layout.
// The first call for a path creates the directory and its oci-layout file.
func (t *Tree) Layout(path string) *Layout {
	t.tb.Helper()
	if l, ok := t.layouts[path]; ok {
		return l
	}
	// The path must have only one spelling, because it is a part of references.
	if !fs.ValidPath(path) {
		t.tb.Fatalf("layout %q: this is not a clean path below the tree", path)
	}
	l := &Layout{tree: t, path: path, dir: filepath.Join(t.dir, filepath.FromSlash(path))}
	Try(l.tree.tb, os.MkdirAll(filepath.Join(l.dir, ocispec.ImageBlobsDir), 0o755))
	l.writeJSON(ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	t.layouts[path] = l
	return l
}
