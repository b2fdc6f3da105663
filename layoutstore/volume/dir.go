package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// Dir is a directory tree of layouts.
type Dir struct {
	name  string // as the user gave it
	root  *os.Root
	blobs roots // <layout>/blobs/<alg>, opened once

	opened func(fs.FileInfo) // of Observe; may be nil
}

// OpenDir opens the directory tree at name, which may be a link.
func OpenDir(name string) (*Dir, error) {
	root, err := plainfile.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &Dir{name: name, root: root, blobs: roots{open: map[string]*sharedRoot{}}}, nil
}

// Close gives the directory back. Only who opened it for a look may call it:
// requests use what they got of a Dir for as long as they like.
func (d *Dir) Close() error { return d.root.Close() }

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

// Where implements [Volume].
func (d *Dir) Where(layout string) (path, entry string) { return filepath.Join(d.name, layout), "" }

// Locate implements [Volume].
func (d *Dir) Locate(layout string, dg digest.Digest) (extent.List, error) {
	if err := dg.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", dg, fs.ErrNotExist)
	}
	f := &blobFile{d, path.Join(layout, names.BlobDir(dg.Algorithm().String())), dg.Encoded()}
	info, err := f.stat()
	if err != nil {
		return nil, linkError(d.root, filepath.FromSlash(path.Join(f.dir, f.name)), err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file: %w", f, fs.ErrInvalid)
	}
	return extent.List{{File: f, Len: info.Size(), Whole: true}}, nil
}

// LocateCached implements [Cached].
func (d *Dir) LocateCached(layout string, dg digest.Digest, size int64) extent.List {
	if dg.Validate() != nil {
		return nil
	}
	return extent.List{{File: &blobFile{d, path.Join(layout, names.BlobDir(dg.Algorithm().String())), dg.Encoded()}, Len: size, Whole: true}}
}

// Blobs implements [Volume].
func (d *Dir) Blobs(ctx context.Context, layout string) ([]digest.Digest, error) {
	blobs := path.Join(layout, "blobs")
	algorithms, err := d.names(blobs)
	if err != nil {
		return nil, err
	}
	var all []digest.Digest
	for _, algorithm := range algorithms {
		if !digest.Algorithm(algorithm).Available() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		files, err := d.names(path.Join(blobs, algorithm))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if dg := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), file); dg.Validate() == nil {
				all = append(all, dg)
			}
		}
	}
	return all, ctx.Err()
}

// names are those in a directory below the volume, sorted; one that is not there,
// or is none, has no names.
func (d *Dir) names(dir string) ([]string, error) {
	root, err := plainfile.OpenRootIn(d.root, filepath.FromSlash(dir))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, nil
	case err != nil:
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// blobFile is a blob of a directory tree.
type blobFile struct {
	vol       *Dir
	dir, name string // below the volume, with slashes
}

// in calls do with the blob's directory and name, and once more with the volume's
// root and the whole path where that fails: the directory was replaced since it was
// opened, or the blob is a link that leaves its directory but not the tree.
func (f *blobFile) in(do func(root *os.Root, name string) error) error {
	if shared := f.vol.blobs.take(f.vol.root, f.dir); shared != nil {
		err := do(shared.root, f.name)
		f.vol.blobs.give(shared)
		if err == nil || IsExhausted(err) {
			return err
		}
	}
	return do(f.vol.root, filepath.FromSlash(path.Join(f.dir, f.name)))
}

func (f *blobFile) stat() (info fs.FileInfo, err error) {
	err = f.in(func(root *os.Root, name string) (err error) {
		info, err = root.Stat(name)
		return err
	})
	return info, err
}

func (f *blobFile) Open() (file *os.File, err error) {
	err = f.in(func(root *os.Root, name string) (err error) {
		file, err = plainfile.OpenIn(root, name)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w: %w", f, extent.ErrStale, err)
	}
	return f.vol.observe(file, err)
}

// OpenCached implements extent.Cached.
func (f *blobFile) OpenCached() (*os.File, fs.FileInfo, error) {
	shared := f.vol.blobs.have(f.dir)
	if shared == nil {
		return nil, nil, plainfile.ErrWouldWait
	}
	defer f.vol.blobs.give(shared)
	dir := shared.cached()
	if dir == nil || f.vol.opened != nil { // who observes may wait
		return nil, nil, plainfile.ErrWouldWait
	}
	return plainfile.OpenCached(dir, f.name)
}

func (f *blobFile) String() string { return filepath.Join(f.vol.name, f.dir, f.name) }

// rootFile is another file of a directory tree.
type rootFile struct {
	vol    *Dir
	root   *os.Root
	name   string
	moving string // where it is moved to, if it is staged; may be empty
	shown  string
}

func (f *rootFile) Open() (*os.File, error) {
	file, err := plainfile.OpenIn(f.root, f.name)
	if errors.Is(err, fs.ErrNotExist) && f.moving != "" {
		file, err = plainfile.OpenIn(f.root, f.moving)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w: %w", f.shown, extent.ErrStale, err)
	}
	return f.vol.observe(file, err)
}

func (f *rootFile) String() string { return f.shown }
