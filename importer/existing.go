package importer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// existingCopy is a copy of a content that the store has by name and size. That proves nothing:
// it is compared with the bundle's copy while that is read, and is linked or left as it
// is only if it is the same.
type existingCopy struct {
	paths  []string    // layouts that have it: links of one file; none where it is in an archive
	info   fs.FileInfo // of the file
	where  extent.List // in an archive of the store
	relies string      // the path of the bundle that needs no copy as long as it is right

	wrong bool // it was found to be so
}

// findExisting finds the copies that the store has of the bundle's contents, and with them
// the layouts that lack one.
func (p *plan) findExisting(ctx context.Context) error {
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
			continue // an archive's, or nothing that could be linked
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
		if err := p.findPlaces(c); err != nil {
			return err
		}
	}
	return nil
}

// addExisting takes in the file of a layout of the store that has the content's name. What is
// no regular file is as good as not there.
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

// findPlaces finds which layouts of the store lack a content, in a file of their own and
// in each archive.
func (p *plan) findPlaces(c *content) error {
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
		found, err := p.inArchives(c, at)
		if err != nil {
			return err
		}
		if !found {
			c.places = append(c.places, at)
		}
	}
	return nil
}

// inArchives takes in the copies that archives of the store have of a content, and says
// whether there is one.
func (p *plan) inArchives(c *content, at string) (found bool, err error) {
	repo, err := p.target.At(at)
	if errors.Is(err, layoutstore.ErrRepositoryUnknown) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, l := range repo.Layouts() {
		if l.Volume() == p.session.options.Store {
			continue // its own files
		}
		if where, err := l.Locate(c.digest); err == nil && where.Size() == c.size {
			c.existing = append(c.existing, &existingCopy{where: where, relies: at})
			found = true
		}
	}
	return found, nil
}

// hasLinkable says whether the store has a file that places may be links of, as long as it
// does not prove wrong.
func (c *content) hasLinkable() bool {
	return slices.ContainsFunc(c.existing, func(e *existingCopy) bool { return len(e.paths) > 0 && !e.wrong })
}

// provenFile is a file of the store that was proven, or empty.
func (c *content) provenFile() string {
	for _, e := range c.existing {
		if len(e.paths) > 0 && !e.wrong {
			return blobName(e.paths[0], c.digest)
		}
	}
	return ""
}

// planRepairs finds, after the content was proven, what of the store has to be replaced.
func (p *plan) planRepairs(c *content) (repairs int) {
	wrong := slices.Clone(c.wrong)
	for _, e := range c.existing {
		switch {
		case !e.wrong:
		case e.relies != "":
			if !slices.Contains(c.places, e.relies) {
				c.places = append(c.places, e.relies) // beside the archive, and before it
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

// open opens a copy that the store has.
func (s *session) open(c *content, e *existingCopy) (io.ReadCloser, error) {
	if len(e.paths) == 0 {
		return e.where.Open()
	}
	return plainfile.OpenIn(s.store.Root(), blobName(e.paths[0], c.digest))
}

// maxCompared is how many copies of the store are open at the same time.
const maxCompared = 8

// comparing compares copies of the store with what is read of a good one.
type comparing struct {
	copies []*existingCopy
	open   []io.ReadCloser // nil behind the first difference
	buf    []byte          // of bufferSize
}

// compareWith opens copies for being compared. The error is one that layoutstore.Exhausted
// knows: what cannot be opened is wrong.
func (s *session) compareWith(c *content, copies []*existingCopy) (*comparing, error) {
	x := &comparing{copies: copies}
	for _, e := range copies {
		e.wrong = false
		r, err := s.open(c, e)
		if layoutstore.IsExhausted(err) {
			x.close()
			return nil, err
		}
		if err != nil {
			e.wrong, r = true, nil
		}
		x.open = append(x.open, r)
	}
	return x, nil
}

func (x *comparing) close() {
	for i := range x.open {
		x.drop(i)
	}
}

func (x *comparing) drop(i int) {
	if x.open[i] != nil {
		x.open[i].Close()
		x.open[i] = nil
	}
}

// next compares the next bytes. A copy that cannot be read is wrong.
func (x *comparing) next(want []byte) {
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

// end compares the ends: a copy that is longer is wrong.
func (x *comparing) end() {
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
