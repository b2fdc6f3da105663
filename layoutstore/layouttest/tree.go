// Package layouttest builds trees of OCI image layouts, for tests and for the
// generator of the samples in examples/.
//
// # Where to start
//
//	tree := layouttest.New(t, t.TempDir())
//	root := tree.Layout(".")
//	image := root.Image(layouttest.Image{Name: "one", LayerSizes: []int64{4096}})
//	root.Tag(image, "v1.70.1")
//	root.Write()
//
// [New] makes a [Tree]; [Tree.Layout] makes a directory in it, whose path is the
// repository path in the registry. [Layout.Image], [Layout.Index] and
// [Layout.Blob] write content and return its descriptor. [Layout.Tag] and
// [Layout.Add] note a descriptor for index.json, and [Layout.Write] writes that
// file. Nothing writes it implicitly: a layout without index.json is a case that
// tests need, and so is content that no index names.
//
// [Tree.Bundle] packs what was written into the archives of a bundle, [Tree.Archive]
// into one of any form, and [Split] and [Cut] cut an archive into chunks. [Tar] writes archives
// that no packer would.
//
// # What it promises
//
// The same calls make the same bytes, on every machine and with every version of
// Go: golden digests stay golden. Times are 1970, tar headers carry no owner, gzip
// is written without a compressor, and random bytes come from ChaCha8 seeded by
// the image's name.
//
// What it writes is complete and valid unless the caller says otherwise; a test that
// needs damage makes a good layout first, and then cuts the file that
// [Layout.BlobPath] names. A new Tree over a directory that already holds one
// starts with empty indexes over the blobs there: so a test replaces an
// index, or takes a tag away.
//
// What goes wrong ends the test through [TB]. A Tree and its layouts belong to one
// goroutine.
//
// The format is the image-layout.md of the OCI image specification, with the
// annotations that d8 mirror pull adds.
package layouttest

import (
	"io/fs"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DefaultSource is the registry path that a new tree claims to come from.
const DefaultSource = "registry.deckhouse.io/deckhouse/ee"

// TB is the part of testing.TB that the builders need, so that a plain program can use
// them too. Fatalf must not return.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Tree is a directory tree of layouts.
type Tree struct {
	// Source precedes the layout's path in the references that Tag writes.
	Source string
	// OldNames makes Tag name the installer and the d8 program below the edition of
	// Source instead of beside it, as d8 did until August 2026.
	OldNames bool

	tb      TB
	dir     string
	layouts map[string]*Layout
}

// New returns a builder of a tree below dir, which is created when needed.
func New(tb TB, dir string) *Tree {
	return &Tree{Source: DefaultSource, tb: tb, dir: dir, layouts: map[string]*Layout{}}
}

// Dir returns the directory of the tree.
func (t *Tree) Dir() string { return t.dir }

// Layout returns the layout at a slash-separated path below the tree; "." is the root
// layout. The first call for a path creates its directory and oci-layout.
func (t *Tree) Layout(path string) *Layout {
	t.tb.Helper()
	if l, ok := t.layouts[path]; ok {
		return l
	}
	// The path becomes part of references, so each layout has only one spelling.
	if !fs.ValidPath(path) {
		t.tb.Fatalf("layout %q: not a clean path below the tree", path)
	}
	l := &Layout{tree: t, path: path, dir: filepath.Join(t.dir, filepath.FromSlash(path))}
	l.check(os.MkdirAll(filepath.Join(l.dir, ocispec.ImageBlobsDir), 0o755))
	l.writeJSON(ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	t.layouts[path] = l
	return l
}
