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

// Dir is a directory tree of layouts. It implements [Volume].
type Dir struct {
	name  string // the directory as the user gave it
	root  *os.Root
	blobs openDirs // the directories <layout>/blobs/<alg>, each opened once

	opened func(fs.FileInfo) // set by Observe; may be nil
}

// OpenDir opens a directory tree. name may be a link.
func OpenDir(name string) (*Dir, error) {
	root, err := plainfile.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &Dir{name: name, root: root, blobs: openDirs{open: map[string]*sharedRoot{}}}, nil
}

// Close closes the directory. Call it only for a Dir that you opened for yourself. If a Dir is
// shared, requests may still use its files.
func (d *Dir) Close() error { return d.root.Close() }

// SameAs reports whether d and other are the same directory in the file system. They differ if the
// source is a link that was changed from one directory to another.
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

// names returns the sorted file names in a directory below the volume. If the directory is missing
// or is not a directory, names returns none.
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

type blobFile struct {
	vol       *Dir
	dir, name string // dir is a path below the volume, with slashes
}

// withDirectory calls do with the blob's open directory and the blob's name. If that fails, it
// calls do with the volume's root and the path. The second call is needed if the directory was
// replaced after it was opened, or if the blob is a link to a file elsewhere in the tree.
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

func (f *blobFile) OpenCached() (*os.File, fs.FileInfo, error) {
	shared := f.vol.blobs.takeOpen(f.dir)
	if shared == nil {
		return nil, nil, plainfile.ErrWouldWait
	}
	defer f.vol.blobs.give(shared)
	dir := shared.cached()
	if dir == nil || f.vol.opened != nil { // the observer may have to wait
		return nil, nil, plainfile.ErrWouldWait
	}
	return plainfile.OpenCached(dir, f.name)
}

func (f *blobFile) String() string { return filepath.Join(f.vol.name, f.dir, f.name) }

// rootFile is a file other than a blob in a directory tree.
type rootFile struct {
	vol    *Dir
	root   *os.Root
	name   string
	moving string // the path to which a staged file will be moved; may be empty
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
