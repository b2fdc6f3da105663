package importer

import (
	"errors"
	"fmt"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// Rough sizes in bytes, for estimates of the disk space that an import needs.
const (
	// block is the size of the units in which file systems allocate space.
	block = 4 << 10
	// slack is the space for directories, indexes and the journal.
	slack = 1 << 20
	// perIndex is the space for two copies of an index, and for the directories of its layout.
	perIndex = 64 << 10
)

// checkFreeSpace checks the free space before the import writes anything. If the disk fills up
// later, the import fails and the store stays as it was. For archives that are kept packed,
// checkFreeSpace does nothing: hard links need no space, and copyFrom checks the space for copies.
func (p *plan) checkFreeSpace() error {
	if p.session.options.KeepPacked {
		return nil
	}
	needed, files := int64(slack), int64(16)
	links := p.session.hasLinks()
	staged := p.findStaged()
	for _, c := range p.contents {
		copies := int64(len(c.places))
		if copies > 0 && links {
			if copies = 1; c.linkableFile() != "" || staged[c] {
				copies = 0
			}
		}
		needed += copies * ((c.size + block - 1) / block * block)
		files += copies
	}
	for _, r := range p.repositories {
		if _, err := p.target.At(r.path); errors.Is(err, layoutstore.ErrRepositoryUnknown) {
			files += 8 // a new layout needs up to 8 files and directories while its index exists twice
			needed += perIndex
		}
	}
	f, err := p.session.store.Root().Open(journal.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	space, err := durable.SpaceOf(f)
	switch {
	case err != nil:
		return fmt.Errorf("determining the free space of the store: %w", err)
	case needed > slack && needed > space.Free:
		return &NoSpaceError{p.session.options.Store, "bytes", needed, space.Free}
	case space.Files >= 0 && files > space.Files:
		return &NoSpaceError{p.session.options.Store, "files", files, space.Files}
	}
	return nil
}

func (p *plan) findStaged() map[*content]bool {
	staged := map[*content]bool{}
	if _, err := p.session.store.Root().Lstat(publish.StagedPath(".")); err != nil {
		return staged
	}
	for _, c := range p.contents {
		for _, at := range c.places {
			if info, err := p.session.store.Root().Lstat(publish.StagedPath(blobName(at, c.digest))); err == nil && info.Size() == c.size {
				staged[c] = true
			}
		}
	}
	return staged
}

func (s *session) hasLinks() bool {
	f, err := s.store.CreateTemp()
	if err != nil {
		return true // the next write fails as well, and reports the error
	}
	defer f.Discard()
	name := f.Path() + ".link"
	if err := s.store.Link(f.Path(), name); err != nil {
		return !noLinks(err)
	}
	return s.store.Remove(name) == nil
}
