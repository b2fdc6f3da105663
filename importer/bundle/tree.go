package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// TreeBlob is a blob of a tree. It has one file in each layout that needs it. The files are hard
// links of each other if the file system supports that.
type TreeBlob struct {
	Digest digest.Digest
	Size   int64 // bytes

	paths []string // all files that the tree should have

	missing []string // files that are missing or damaged

	have string // an intact file; empty if none is known
}

// MakeTree creates the directories of layouts, and returns the blobs of the layouts by digest.
func MakeTree(dir string, layouts []*Layout) (map[digest.Digest]*TreeBlob, error) {
	blobs := map[digest.Digest]*TreeBlob{}
	for _, l := range layouts { // layouts without blobs need their directories, too
		at := filepath.Join(dir, filepath.FromSlash(l.Path))
		if err := os.MkdirAll(filepath.Join(at, specs.ImageBlobsDir), 0o755); err != nil {
			return nil, err
		}
		for _, d := range l.Blobs {
			b := blobs[d.Digest]
			if b == nil {
				b = &TreeBlob{Digest: d.Digest, Size: d.Size}
				blobs[d.Digest] = b
			}
			b.paths = append(b.paths, filepath.Join(at, filepath.FromSlash(names.BlobPath(d.Digest))))
		}
	}
	return blobs, nil
}

// Find reports whether the tree has an intact file of the blob. It reads hard links of the same file
// only once. Its only error is the context's.
func (b *TreeBlob) Find(ctx context.Context) (bool, error) {
	type seen struct {
		info os.FileInfo
		good bool
	}
	var files []seen
	for _, name := range b.paths {
		info, err := os.Stat(name)
		if err != nil || info.Size() != b.Size || !info.Mode().IsRegular() {
			b.missing = append(b.missing, name)
			continue
		}
		i := slices.IndexFunc(files, func(f seen) bool { return os.SameFile(f.info, info) })
		if i < 0 {
			good, err := FileHasDigest(ctx, name, b.Digest)
			if err != nil {
				return false, err
			}
			i, files = len(files), append(files, seen{info, good})
		}
		if files[i].good {
			b.have = name
		} else {
			b.missing = append(b.missing, name)
		}
	}
	return b.have != "", nil
}

// Use sets a file outside of the tree as the source of the blob.
func (b *TreeBlob) Use(file string) { b.have = file }

// Place atomically creates or replaces each file of the blob that is missing or damaged. Sync the
// source to disk first, because an index may already refer to the blob.
func (b *TreeBlob) Place(ctx context.Context) error {
	for _, name := range b.missing {
		if err := place(ctx, b.have, name); err != nil {
			return err
		}
		b.have = name // link the next files to this one, as the first source may be on a different file system
	}
	return nil
}

// place makes the file "to" a hard link of the file "from", or a copy if links are not possible. It
// replaces an existing file atomically.
func place(ctx context.Context, from, to string) error {
	dir := filepath.Dir(to)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	// Either the file already exists, or links are not possible.
	link := filepath.Join(dir, ".link-"+filepath.Base(to))
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) { // a crash may have left this link
		return err
	}
	if os.Link(from, link) == nil {
		return os.Rename(link, to)
	}
	return copyTo(ctx, from, to)
}

// maxCopied limits the bytes that are copied in one step. After each step, copying stops if the
// context has ended.
const maxCopied = 64 << 20

func copyTo(ctx context.Context, from, to string) error {
	in, err := plainfile.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := durable.Create(to, 0o644)
	if err != nil {
		return err
	}
	for {
		n, err := out.ReadFrom(io.LimitReader(in, maxCopied)) // ReadFrom may let the kernel copy the bytes
		if err := errors.Join(ctx.Err(), err); err != nil {
			return errors.Join(err, out.Discard())
		}
		if n < maxCopied {
			return out.Commit()
		}
	}
}

// StageIndex stages a layout's index.json if its content has changed, so that the indexes of all
// layouts are published together. It returns the path of the index.json, and whether it was staged.
func (p *Publisher) StageIndex(layout string, index []byte) (name string, staged bool, err error) {
	dir := filepath.Join(p.dir, filepath.FromSlash(layout))
	if mark := filepath.Join(dir, specs.ImageLayoutFile); !hasContent(mark, []byte(layoutMark)) {
		if err := durable.WriteFile(mark, []byte(layoutMark), 0o644); err != nil {
			return "", false, err
		}
	}
	name = path.Join(layout, specs.ImageIndexFile)
	staged, err = p.StageIfNew(name, index)
	return name, staged, err
}

func hasContent(name string, want []byte) bool {
	have, err := plainfile.Read(name, int64(len(want)))
	return err == nil && bytes.Equal(have, want)
}
