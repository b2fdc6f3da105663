package importer

import (
	"errors"
	"fmt"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// Rough sizes for a file system that has yet to say what an import takes.
const (
	block    = 4 << 10  // by which files grow
	slack    = 1 << 20  // directories, indexes, the journal
	perIndex = 64 << 10 // an index twice, and its layout's directories
)

// enoughRoom asks for the room for an import before its first byte. What fills up
// meanwhile ends it later, and no harm is done.
func (v *survey) enoughRoom() error {
	needed, files := int64(slack), int64(16)
	links := v.session.hasLinks()
	left := v.left()
	for _, c := range v.contents {
		copies := int64(len(c.places))
		if copies > 0 && links {
			if copies = 1; c.linkable() || left[c] {
				copies = 0
			}
		}
		needed += copies * ((c.size + block - 1) / block * block)
		files += copies
	}
	for _, at := range v.bundle.Paths() {
		if _, err := v.target.At(at); errors.Is(err, layoutstore.ErrRepositoryUnknown) {
			files += 8 // directories and small files, while both are there twice
			needed += perIndex
		}
	}
	f, err := v.session.store.Root().Open(journal.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	freeBytes, freeFiles, err := room(f)
	switch {
	case err != nil:
		return fmt.Errorf("the room in the store: %w", err)
	case needed > slack && needed > freeBytes:
		return &RoomError{v.session.options.Store, "bytes", needed, freeBytes}
	case freeFiles >= 0 && files > freeFiles:
		return &RoomError{v.session.options.Store, "files", files, freeFiles}
	}
	return nil
}

// left are the contents that an import which was interrupted has left in staging.
func (v *survey) left() map[*content]bool {
	left := map[*content]bool{}
	if _, err := v.session.store.Root().Lstat(publish.StagedPath(".")); err != nil {
		return left
	}
	for _, c := range v.contents {
		for _, at := range c.places {
			if info, err := v.session.store.Root().Lstat(publish.StagedPath(blobName(at, c.digest))); err == nil && info.Size() == c.size {
				left[c] = true
			}
		}
	}
	return left
}

// hasLinks says whether the file system of the store has hard links.
func (s *session) hasLinks() bool {
	f, err := s.store.CreateTemp()
	if err != nil {
		return true // who writes next is told
	}
	defer f.Discard()
	name := f.Path() + ".link"
	if err := s.store.Link(f.Path(), name); err != nil {
		return !noLinks(err)
	}
	return s.store.Remove(name) == nil
}
