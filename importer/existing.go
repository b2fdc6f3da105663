package importer

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

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// existingCopy is a file or an archive entry in the store with the name and size of a blob or
// manifest of the bundle. Its bytes may still be wrong. The import compares both copies while it
// reads the bundle's copy, and uses the existing one only if they are equal.
type existingCopy struct {
	// paths are the layouts whose blob is a hard link to this file. It is empty for an archive
	// entry.
	paths []string
	// info describes the file. It is nil for an entry of an archive.
	info fs.FileInfo
	// where locates the entry in an archive of the store.
	where extent.List
	// relies is the path of a layout that is served from this archive entry. If the entry is
	// intact, the layout needs no other copy.
	relies string

	wrong bool // the bytes differ from those of the bundle's copy
}

// findExisting finds the store's copies of the plan's contents, and the layouts that still need one.
func (d *directory) findExisting(ctx context.Context, p *plan) error {
	byName := make(map[string]*content, len(p.contents))
	for _, c := range p.contents {
		byName[names.BlobPath(c.digest)] = c
	}
	for _, at := range p.target.Paths() {
		if err := ctx.Err(); err != nil {
			return err
		}
		algorithms, err := fs.ReadDir(p.session.store.Root().FS(), path.Join(at, ocispec.ImageBlobsDir))
		if err != nil {
			continue // the layout is in an archive, or has no blobs
		}
		for _, algorithm := range algorithms {
			blobs, _ := fs.ReadDir(p.session.store.Root().FS(), path.Join(at, names.BlobDir(algorithm.Name())))
			for _, blob := range blobs {
				if c := byName[path.Join(names.BlobDir(algorithm.Name()), blob.Name())]; c != nil {
					c.addExisting(at, blob)
				}
			}
		}
	}
	for _, c := range p.contents {
		if err := p.findPlaces(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// addExisting adds to c a blob of the store that has the content's name, if it is a regular file.
func (c *content) addExisting(at string, blob fs.DirEntry) {
	info, err := blob.Info()
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	if info.Size() != c.size {
		c.wrong = append(c.wrong, at)
		return
	}
	for _, e := range c.existing {
		if os.SameFile(e.info, info) {
			e.paths = append(e.paths, at)
			return
		}
	}
	c.existing = append(c.existing, &existingCopy{paths: []string{at}, info: info})
}

// findPlaces finds the layouts that need the content, and have it neither in a file nor in an
// archive. Archives that will be removed do not count.
func (p *plan) findPlaces(ctx context.Context, c *content) error {
	skip := func(l layoutstore.Layout) bool {
		return l.Volume() == p.session.options.Store || p.session.isRetired(l)
	}
	have := map[string]bool{}
	for _, e := range c.existing {
		for _, at := range e.paths {
			have[at] = true
		}
	}
	for _, at := range c.wanted {
		if have[at] {
			continue
		}
		found, err := c.locate(ctx, p.target, at, skip)
		if err != nil {
			return err
		}
		for _, where := range found { // in archives
			c.existing = append(c.existing, &existingCopy{where: where, relies: at})
		}
		if len(found) == 0 {
			c.places = append(c.places, at)
		}
	}
	return nil
}

// isRetired reports whether a layout of the store is in an archive whose tags a prune has removed, and
// which is removed when its grace period ends.
func (s *session) isRetired(l layoutstore.Layout) bool {
	if s.store == nil || l.Volume() == s.options.Store { // a store in a bucket has no archives
		return false
	}
	return slices.ContainsFunc(s.store.State().Packed, func(k journal.Packed) bool {
		return k.Retired != nil && k.File == filepath.Base(l.Volume())
	})
}

// locate finds the copies of a content at a path of the store, except copies in layouts to skip. It
// fails with the cause of ctx or with an error of the store's tree.
func (c *content) locate(ctx context.Context, store *layoutstore.Snapshot, at string, skip func(layoutstore.Layout) bool) (found []extent.List, err error) {
	repo, err := store.At(at)
	if errors.Is(err, layoutstore.ErrRepositoryUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, l := range repo.Layouts() {
		if skip(l) {
			continue
		}
		where, err := l.Locate(ctx, c.digest)
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
		if err == nil && where.Size() == c.size {
			found = append(found, where)
		}
	}
	return found, nil
}

// linkableFile returns the path of a file in the store to which other layouts can be linked. It returns the
// empty string if there is no such file. The file counts as proven only after the import has read a copy in
// the bundle, because the import verifies both at that time.
func (c *content) linkableFile() string {
	for _, e := range c.existing {
		if len(e.paths) > 0 && !e.wrong {
			return blobName(e.paths[0], c.digest)
		}
	}
	return ""
}

// planRepairs finds the wrong copies of c in the store: those with another size, other bytes, or bytes that
// cannot be read. It returns the number of repairs. They are made after the new content has been verified.
func (p *plan) planRepairs(c *content) (repairs int) {
	wrong := slices.Clone(c.wrong)
	for _, e := range c.existing {
		switch {
		case !e.wrong:
		case e.relies != "":
			if !slices.Contains(c.places, e.relies) {
				c.places = append(c.places, e.relies) // the new file is stored beside the archive, and is served instead of the archive's entry
				repairs++
			}
		default:
			wrong = append(wrong, e.paths...)
		}
	}
	for _, at := range wrong {
		p.repaired[blobName(at, c.digest)] = true
		if !slices.Contains(c.places, at) {
			c.places = append(c.places, at)
		}
	}
	return repairs + len(wrong)
}

// openExisting opens a copy in the store. If the copy cannot be opened, openExisting marks it as
// wrong and returns nil. Its only errors are the cause of ctx and errors that
// layoutstore.IsExhausted reports.
func (s *session) openExisting(ctx context.Context, c *content, e *existingCopy) (r io.ReadCloser, err error) {
	if len(e.paths) == 0 {
		r, err = e.where.Open(ctx)
	} else {
		r, err = plainfile.OpenIn(s.store.Root(), blobName(e.paths[0], c.digest))
	}
	if layoutstore.IsExhausted(err) || err != nil && ctx.Err() != nil {
		return nil, err
	}
	if e.wrong = err != nil; e.wrong {
		return nil, nil
	}
	return r, nil
}

// maxCompared is the maximum number of copies in the store that are open at the same time.
const maxCompared = 8

// comparison compares copies in the store with the bundle's copy, while the import reads the bundle's copy.
type comparison struct {
	copies []*existingCopy
	// open contains a reader for each copy that is still compared, and nil for the others.
	open []io.ReadCloser
	buf  []byte // buffer of bufferSize bytes
}

// compareWith opens copies for a comparison. Its errors are the same as those of openExisting.
func (s *session) compareWith(ctx context.Context, c *content, copies []*existingCopy) (*comparison, error) {
	x := &comparison{copies: copies}
	for _, e := range copies {
		r, err := s.openExisting(ctx, c, e)
		if err != nil {
			x.close()
			return nil, err
		}
		x.open = append(x.open, r)
	}
	return x, nil
}

func (x *comparison) close() {
	for i := range x.open {
		x.drop(i)
	}
}

func (x *comparison) drop(i int) {
	if x.open[i] != nil {
		x.open[i].Close()
		x.open[i] = nil
	}
}

// next compares the next bytes of the bundle's copy with all open copies. If a copy differs or
// cannot be read, next marks it as wrong.
func (x *comparison) next(want []byte) {
	for i, r := range x.open {
		if r == nil {
			continue
		}
		got := x.buf[:len(want)]
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
			x.copies[i].wrong = true
			x.drop(i)
		}
	}
}

// end marks a copy as wrong if it is longer than the bundle's copy.
func (x *comparison) end() {
	var more [1]byte
	for i, r := range x.open {
		if r == nil {
			continue
		}
		if n, err := io.ReadFull(r, more[:]); n > 0 || !errors.Is(err, io.EOF) {
			x.copies[i].wrong = true
		}
		x.drop(i)
	}
}
