package importer

import (
	"os"
	"path/filepath"
	"slices"
)

// findPartlyMoved returns the archives that an import had partly moved when it was killed:
// only some chunks remain in the bundle, and each is a hard link of the store's chunk of that
// name. It sets their names in the store.
func (s *session) findPartlyMoved(archives []*archive) (half []*archive, err error) {
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

// isPart reports whether the chunks of an archive are some, but not all, of the store's chunks
// under its name, each as a second hard link.
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
