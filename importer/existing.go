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

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// held is a copy of a content that the store has by name and size. That proves nothing:
// it is compared with the bundle's copy while that is read, and is linked or left as it
// is only if it is the same.
type held struct {
	paths  []string    // layouts that have it: links of one file; none where it is in an archive
	info   fs.FileInfo // of the file
	where  extent.List // in an archive of the store
	relies string      // the path of the bundle that needs no copy as long as it is right

	wrong bool // it was found to be so
}

// findHeld finds the copies that the store has of the bundle's contents, and with them
// the layouts that lack one.
func (v *survey) findHeld(ctx context.Context) error {
	byName := make(map[string]*content, len(v.contents))
	for _, c := range v.contents {
		byName[path.Join(c.digest.Algorithm().String(), c.digest.Encoded())] = c
	}
	for _, at := range v.target.Paths() {
		if err := ctx.Err(); err != nil {
			return err
		}
		algorithms, err := fs.ReadDir(v.session.store.Root().FS(), path.Join(at, "blobs"))
		if err != nil {
			continue // an archive's, or nothing that could be linked
		}
		for _, algorithm := range algorithms {
			blobs, _ := fs.ReadDir(v.session.store.Root().FS(), path.Join(at, "blobs", algorithm.Name()))
			for _, blob := range blobs {
				if c := byName[path.Join(algorithm.Name(), blob.Name())]; c != nil {
					c.holds(at, blob)
				}
			}
		}
	}
	for _, c := range v.contents {
		if err := v.findPlaces(c); err != nil {
			return err
		}
	}
	return nil
}

// holds takes in the file of a layout of the store that has the content's name. What is
// no regular file is as good as not there.
func (c *content) holds(at string, blob fs.DirEntry) {
	info, err := blob.Info()
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	if info.Size() != c.size {
		c.wrong = append(c.wrong, at)
		return
	}
	for _, h := range c.held {
		if os.SameFile(h.info, info) {
			h.paths = append(h.paths, at)
			return
		}
	}
	c.held = append(c.held, &held{paths: []string{at}, info: info})
}

// findPlaces finds which layouts of the store lack a content, in a file of their own and
// in each archive.
func (v *survey) findPlaces(c *content) error {
	have := map[string]bool{}
	for _, h := range c.held {
		for _, at := range h.paths {
			have[at] = true
		}
	}
	for _, at := range c.wanted {
		if have[at] {
			continue
		}
		found, err := v.inArchives(c, at)
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
func (v *survey) inArchives(c *content, at string) (found bool, err error) {
	repo, err := v.target.At(at)
	if errors.Is(err, layoutstore.ErrRepositoryUnknown) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, l := range repo.Layouts() {
		if l.Volume() == v.session.options.Store {
			continue // its own files
		}
		if where, err := l.Locate(c.digest); err == nil && where.Size() == c.size {
			c.held = append(c.held, &held{where: where, relies: at})
			found = true
		}
	}
	return found, nil
}

// linkable says whether the store has a file that places may be links of, as long as it
// does not prove wrong.
func (c *content) linkable() bool {
	return slices.ContainsFunc(c.held, func(h *held) bool { return len(h.paths) > 0 && !h.wrong })
}

// base is a file of the store that was proven, or empty.
func (c *content) base() string {
	for _, h := range c.held {
		if len(h.paths) > 0 && !h.wrong {
			return blobName(h.paths[0], c.digest)
		}
	}
	return ""
}

// settle finds, after the content was proven, what of the store has to be replaced.
func (v *survey) settle(c *content) (repairs int) {
	wrong := slices.Clone(c.wrong)
	for _, h := range c.held {
		switch {
		case !h.wrong:
		case h.relies != "":
			if !slices.Contains(c.places, h.relies) {
				c.places = append(c.places, h.relies) // beside the archive, and before it
				repairs++
			}
		default:
			wrong = append(wrong, h.paths...)
		}
	}
	for _, at := range wrong {
		v.repaired[blobName(at, c.digest)] = true
		if !slices.Contains(c.places, at) {
			c.places = append(c.places, at)
		}
	}
	return repairs + len(wrong)
}

// open opens a copy that the store has.
func (s *session) open(c *content, h *held) (io.ReadCloser, error) {
	if len(h.paths) == 0 {
		return h.where.Open()
	}
	return plainfile.OpenIn(s.store.Root(), blobName(h.paths[0], c.digest))
}

// maxCompared is how many copies of the store are open at the same time.
const maxCompared = 8

// comparing compares copies of the store with what is read of a good one.
type comparing struct {
	held []*held
	open []io.ReadCloser // nil behind the first difference
	buf  []byte          // of bufferSize
}

// compareWith opens copies for being compared. The error is one that layoutstore.Exhausted
// knows: what cannot be opened is wrong.
func (s *session) compareWith(c *content, copies []*held) (*comparing, error) {
	x := &comparing{held: copies}
	for _, h := range copies {
		h.wrong = false
		r, err := s.open(c, h)
		if layoutstore.Exhausted(err) {
			x.close()
			return nil, err
		}
		if err != nil {
			h.wrong, r = true, nil
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
			x.held[i].wrong = true
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
			x.held[i].wrong = true
		}
		x.drop(i)
	}
}
