package importer

import (
	"errors"
	"fmt"

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
	links := v.store.hasLinks()
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
	f, err := v.store.root.Open(journal.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	freeBytes, freeFiles, err := room(f)
	switch {
	case err != nil:
		return fmt.Errorf("the room in the store: %w", err)
	case needed > slack && needed > freeBytes:
		return &RoomError{v.store.Store, "bytes", needed, freeBytes}
	case freeFiles >= 0 && files > freeFiles:
		return &RoomError{v.store.Store, "files", files, freeFiles}
	}
	return nil
}

// left are the contents that an import which was interrupted has left in staging.
func (v *survey) left() map[*content]bool {
	left := map[*content]bool{}
	if _, err := v.store.root.Lstat(stagedTree); err != nil {
		return left
	}
	for _, c := range v.contents {
		for _, at := range c.places {
			if info, err := v.store.root.Lstat(stagedPath(blobName(at, c.digest))); err == nil && info.Size() == c.size {
				left[c] = true
			}
		}
	}
	return left
}

// hasLinks says whether the file system of the store has hard links.
func (s *store) hasLinks() bool {
	f, err := s.createTemp()
	if err != nil {
		return true // who writes next is told
	}
	defer f.drop()
	name := f.name + ".link"
	if err := s.link(f.name, name); err != nil {
		return !noLinks(err)
	}
	return s.remove(name) == nil
}
