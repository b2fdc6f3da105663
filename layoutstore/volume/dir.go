package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// openRoots bounds the blob directories that a Dir keeps open, and with them
// the file descriptors it holds between requests.
const openRoots = 256

// Dir is a directory tree of layouts.
type Dir struct {
	name string // as the user gave it
	root *os.Root

	mu    sync.Mutex
	blobs map[string]*os.Root // <layout>/blobs/<alg>, opened once
}

// OpenDir opens the directory tree at name, which may be a link.
func OpenDir(name string) (*Dir, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &Dir{name: name, root: root, blobs: map[string]*os.Root{}}, nil
}

// SameAs says whether d and other are the same directory of the file system,
// which they are not when a link that led to one was set to another.
func (d *Dir) SameAs(other *Dir) bool {
	a, err := d.root.Stat(".")
	if err != nil {
		return false
	}
	b, err := other.root.Stat(".")
	return err == nil && os.SameFile(a, b)
}

func (d *Dir) String() string { return d.name }

// Locate implements [Volume].
func (d *Dir) Locate(layout string, dg digest.Digest) (extent.List, error) {
	if err := dg.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", dg, fs.ErrNotExist)
	}
	dir := path.Join(layout, "blobs", dg.Algorithm().String())
	if root := d.blobRoot(dir); root != nil {
		if info, err := root.Stat(dg.Encoded()); err == nil {
			return d.whole(root, dg.Encoded(), path.Join(dir, dg.Encoded()), info)
		}
	}
	// Once more from the top: the directory was replaced since it was opened,
	// or the blob is a link that leaves its directory but not the tree.
	name := path.Join(dir, dg.Encoded())
	info, err := d.root.Stat(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	return d.whole(d.root, name, name, info)
}

func (d *Dir) whole(root *os.Root, name, shown string, info fs.FileInfo) (extent.List, error) {
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file: %w", filepath.Join(d.name, shown), fs.ErrInvalid)
	}
	return extent.List{{File: &rootFile{root, name, filepath.Join(d.name, shown)}, Len: info.Size()}}, nil
}

// blobRoot is the open directory dir of the tree, or nil. To open a blob
// through it costs a third of an open through all segments of its path.
func (d *Dir) blobRoot(dir string) *os.Root {
	d.mu.Lock()
	defer d.mu.Unlock()
	if root, ok := d.blobs[dir]; ok {
		return root
	}
	root, err := d.root.OpenRoot(filepath.FromSlash(dir))
	if err != nil {
		return nil
	}
	if len(d.blobs) >= openRoots {
		for other := range d.blobs { // any one: the map's order is as good as another
			delete(d.blobs, other)
			break
		}
	}
	d.blobs[dir] = root
	return root
}

// forgetRoots drops the open directories, so that ones that were replaced are
// found anew. They are not closed here, as requests may be using them: os.Root
// closes itself when nothing refers to it any longer.
func (d *Dir) forgetRoots() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.blobs)
}

// rootFile is a file below an open directory.
type rootFile struct {
	root  *os.Root
	name  string
	shown string
}

func (f *rootFile) Open() (*os.File, error) {
	file, err := f.root.Open(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w: %w", f.shown, extent.ErrStale, err)
	}
	return file, err
}

func (f *rootFile) String() string { return f.shown }
