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
	blobs openDirs // <layout>/blobs/<alg>, opened once

	opened func(fs.FileInfo) // of Observe; may be nil
}

// OpenDir opens the directory tree at name, which may be a link.
func OpenDir(name string) (*Dir, error) {
	root, err := plainfile.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &Dir{name: name, root: root, blobs: openDirs{open: map[string]*sharedRoot{}}}, nil
}

// Close closes the directory. Only a caller that opened the Dir for itself may call it: of a
// shared Dir, requests may still use files.
func (d *Dir) Close() error { return d.root.Close() }

// SameAs reports whether d and other are the same directory of the file system. They
// differ if a link was changed from one directory to another.
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
func (d *Dir) Locate(ctx context.Context, layout string, dg digest.Digest) (extent.List, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
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

// names returns the file names in a directory below the volume, sorted. It returns none if the
// directory is missing or is not a directory.
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

// withDirectory calls do with the blob's directory and name. If that fails, it calls do with the
// volume's root and the full path: the directory may have been replaced since it was opened, or
// the blob may be a link to elsewhere in the tree.
func (f *blobFile) withDirectory(do func(root *os.Root, name string) error) error {
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
	err = f.withDirectory(func(root *os.Root, name string) (err error) {
		info, err = root.Stat(name)
		return err
	})
	return info, err
}

func (f *blobFile) Open(ctx context.Context) (file *os.File, err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	err = f.withDirectory(func(root *os.Root, name string) (err error) {
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
	shared := f.vol.blobs.takeOpen(f.dir)
	if shared == nil {
		return nil, nil, plainfile.ErrWouldWait
	}
	defer f.vol.blobs.give(shared)
	dir := shared.cached()
	if dir == nil || f.vol.opened != nil { // an observer may wait
		return nil, nil, plainfile.ErrWouldWait
	}
	return plainfile.OpenCached(dir, f.name)
}

func (f *blobFile) String() string { return filepath.Join(f.vol.name, f.dir, f.name) }

// rootFile is a file of a directory tree that is not a blob.
type rootFile struct {
	vol    *Dir
	root   *os.Root
	name   string
	moving string // its final path, if it is staged; may be empty
	shown  string
}

func (f *rootFile) Open(ctx context.Context) (*os.File, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
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
