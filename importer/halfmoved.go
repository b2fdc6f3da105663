package importer

import (
	"os"
	"path/filepath"
	"slices"
)

// leftovers are those archives of a bundle of which only some chunks are there, each of
// them the very file of a chunk that the store has under that name: an import was killed
// while it removed their old names. It gives them the names that they have in the store.
func (s *session) leftovers(parcels []*parcel) (left []*parcel, err error) {
	for _, p := range parcels {
		if !p.set.Chunked || sameDir(p.dir, s.store.Dir()) {
			continue
		}
		entries, err := os.ReadDir(p.dir)
		if err != nil {
			return nil, err
		}
		name, files := p.name, p.files
		p.files = withoutSums(filesOf(p.set.Name, entries))
		for _, packed := range slices.Backward(s.store.State().Packed) {
			if packed.Name != p.set.Name {
				continue
			}
			p.name = packed.File
			part, err := s.isPart(p)
			if err != nil {
				return nil, err
			}
			if part {
				left = append(left, p)
				break
			}
			p.name = name
		}
		if !slices.Contains(left, p) {
			p.files = files
		}
	}
	return left, nil
}

// isPart says whether the chunks of an archive are some of those that the store has under
// its name, by a second name each, and not all.
func (s *session) isPart(p *parcel) (bool, error) {
	have, err := s.filesUnder(p.name)
	if err != nil || len(p.files) == 0 || len(have) <= len(p.files) {
		return false, err
	}
	for _, file := range p.files {
		outside, err := os.Lstat(filepath.Join(p.dir, file))
		if err != nil {
			return false, err
		}
		inside, err := s.store.Root().Lstat(p.storeName(file))
		if err != nil || !os.SameFile(outside, inside) {
			return false, nil
		}
	}
	return true, nil
}
