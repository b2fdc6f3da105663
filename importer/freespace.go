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

// checkFreeSpace asks for the space for an import before its first byte. What fills up
// meanwhile ends it later, and no harm is done. An archive that is kept packed is linked,
// or checked where it has to be copied.
func (p *plan) checkFreeSpace() error {
	if p.session.options.KeepPacked {
		return nil
	}
	needed, files := int64(slack), int64(16)
	links := p.session.hasLinks()
	left := p.left()
	for _, c := range p.contents {
		copies := int64(len(c.places))
		if copies > 0 && links {
			if copies = 1; c.hasLinkable() || left[c] {
				copies = 0
			}
		}
		needed += copies * ((c.size + block - 1) / block * block)
		files += copies
	}
	for _, r := range p.repositories {
		if _, err := p.target.At(r.path); errors.Is(err, layoutstore.ErrRepositoryUnknown) {
			files += 8 // directories and small files, while both are there twice
			needed += perIndex
		}
	}
	f, err := p.session.store.Root().Open(journal.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	freeBytes, freeFiles, err := freeSpace(f)
	switch {
	case err != nil:
		return fmt.Errorf("the room in the store: %w", err)
	case needed > slack && needed > freeBytes:
		return &NoSpaceError{p.session.options.Store, "bytes", needed, freeBytes}
	case freeFiles >= 0 && files > freeFiles:
		return &NoSpaceError{p.session.options.Store, "files", files, freeFiles}
	}
	return nil
}

// left are the contents that an import which was interrupted has left in staging.
func (p *plan) left() map[*content]bool {
	left := map[*content]bool{}
	if _, err := p.session.store.Root().Lstat(publish.StagedPath(".")); err != nil {
		return left
	}
	for _, c := range p.contents {
		for _, at := range c.places {
			if info, err := p.session.store.Root().Lstat(publish.StagedPath(blobName(at, c.digest))); err == nil && info.Size() == c.size {
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
