package prune

import (
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// storage is an open store, in a directory or in a bucket. Names of files are paths in the store.
type storage interface {
	// place returns the directory of the store, or its place in a bucket. The volume of the loose files has
	// the same name.
	place() string
	state() journal.State
	snapshot(ctx context.Context, o Options) (*layoutstore.Snapshot, error)
	// index returns the content of a repository's loose index.json, or nil if there is none.
	index(ctx context.Context, at string) ([]byte, error)
	// files lists the files in the top directory of the store, which contains the archives.
	files() ([]fs.DirEntry, error)
	// since returns when a file was added to the store, or zero if that is unknown.
	since(name string) time.Time
	// measure returns the inode, the number of hard links and the disk space in bytes of a file. The space
	// becomes free when the last link is removed. If name is not a regular file, the error is fs.ErrNotExist.
	measure(name string) (id inode, names uint64, bytes int64, err error)
	// publish carries out the journal of a prune as one generation.
	publish(ctx context.Context, j *journal.Journal) error
	// reserve sets disk space aside for the next prune. indexes is the size of all index.json files in bytes.
	reserve(indexes int64)
	close()
}

// inode identifies a file by device and inode number. It is zero if the platform has no inodes.
type inode struct{ dev, ino uint64 }

// directory is an open and locked store in a directory.
type directory struct{ store *publish.Store }

func (d *directory) place() string        { return d.store.Dir() }
func (d *directory) state() journal.State { return d.store.State() }
func (d *directory) reserve(bytes int64)  { d.store.Reserve(bytes) }
func (d *directory) close()               { d.store.Close() }

func (d *directory) snapshot(ctx context.Context, o Options) (*layoutstore.Snapshot, error) {
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: []string{d.store.Dir()}, CacheDir: o.CacheDir, QuarantineDir: o.QuarantineDir})
	if err != nil {
		return nil, err
	}
	return tree.Snapshot(), nil
}

func (d *directory) index(_ context.Context, at string) ([]byte, error) {
	data, err := fs.ReadFile(d.store.Root().FS(), path.Join(at, ocispec.ImageIndexFile))
	if os.IsNotExist(err) {
		return nil, nil
	}
	return data, err
}

func (d *directory) files() ([]fs.DirEntry, error) { return fs.ReadDir(d.store.Root().FS(), ".") }

func (d *directory) since(name string) time.Time {
	info, err := os.Lstat(filepath.Join(d.store.Dir(), name))
	if err != nil {
		return time.Time{}
	}
	return changedAt(info)
}

func (d *directory) measure(name string) (id inode, names uint64, bytes int64, err error) {
	info, err := d.store.Root().Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return inode{}, 0, 0, err
	}
	id, names, bytes = spaceOf(info)
	return id, names, bytes, nil
}

func (d *directory) publish(ctx context.Context, j *journal.Journal) error {
	return d.store.Prune(ctx, j)
}
