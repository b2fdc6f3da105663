package importer

import (
	"os"
	"path/filepath"
	"slices"
)

// halfMoved are those archives of a bundle of which only some chunks are there, each of
// them the very file of a chunk that the store has under that name: an import was killed
// while it removed their old names. It gives them the names that they have in the store.
func (s *session) halfMoved(archives []*archive) (half []*archive, err error) {
	for _, a := range archives {
		if !a.set.Chunked || sameDir(a.dir, s.store.Dir()) {
			continue
		}
		entries, err := os.ReadDir(a.dir)
		if err != nil {
			return nil, err
		}
		name, files := a.name, a.files
		a.files = withoutSums(filesOf(a.set.Name, entries))
		for _, packed := range slices.Backward(s.store.State().Packed) {
			if packed.Name != a.set.Name {
				continue
			}
			a.name = packed.File
			part, err := s.isPart(a)
			if err != nil {
				return nil, err
			}
			if part {
				half = append(half, a)
				break
			}
			a.name = name
		}
		if !slices.Contains(half, a) {
			a.files = files
		}
	}
	return half, nil
}

// isPart says whether the chunks of an archive are some of those that the store has under
// its name, by a second name each, and not all.
func (s *session) isPart(a *archive) (bool, error) {
	have, err := s.filesUnder(a.name)
	if err != nil || len(a.files) == 0 || len(have) <= len(a.files) {
		return false, err
	}
	for _, file := range a.files {
		outside, err := os.Lstat(filepath.Join(a.dir, file))
		if err != nil {
			return false, err
		}
		inside, err := s.store.Root().Lstat(a.storeName(file))
		if err != nil || !os.SameFile(outside, inside) {
			return false, nil
		}
	}
	return true, nil
}
