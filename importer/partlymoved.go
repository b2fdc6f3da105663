package importer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// findPartlyMoved returns the archives that a killed import had moved only in part: some chunks
// remain in the bundle, and each is a hard link of the store's chunk of the same name. It also sets
// the names that these archives have in the store.
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
		a.files = filesOf(a.set.Name, entries)
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

// isPart reports whether only some of an archive's chunks remain in the bundle, each as a hard link
// of a chunk in the store.
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
		if !s.isLinkOf(outside, a.storeName(file)) {
			return false, nil
		}
	}
	return true, nil
}

// hasMoved reports whether a problem concerns an archive that an earlier import moved into the
// store. The bundle's inventory lists such an archive, and the store has it with the listed
// checksums, and serves its tags. No import moves an archive out of or into a bucket.
func (s *session) hasMoved(ctx context.Context, p layoutstore.Problem) (bool, error) {
	if s.store == nil || bucket.IsPlace(p.Path) || !errors.Is(p.Err, inventory.ErrMissing) {
		return false, nil
	}
	dir, name := filepath.Split(p.Path)
	data, _, err := layoutstore.ReadInventory(filepath.Clean(dir))
	if err != nil || data == nil {
		return false, err
	}
	list, err := inventory.Parse(data)
	if err != nil {
		return false, nil // the malformed inventory is reported as a separate problem
	}
	archives, _ := inventory.Archives(list.Files)
	at := slices.IndexFunc(archives, func(a *inventory.Archive) bool { return a.Name == name })
	for _, packed := range s.store.State().Packed {
		if at < 0 || packed.Name != name || packed.Retired != nil {
			continue
		}
		if same, err := s.hasListed(ctx, packed.File, archives[at]); same || err != nil {
			return same, err
		}
	}
	return false, nil
}

func (s *session) hasListed(ctx context.Context, file string, a *inventory.Archive) (bool, error) {
	for _, f := range a.Files {
		if f.SHA256 == "" {
			return false, nil
		}
		inside, err := plainfile.OpenIn(s.store.Root(), file+strings.TrimPrefix(f.Name, a.Name))
		if err != nil {
			return false, nil
		}
		err = prove(ctx, inside, digest.NewDigestFromEncoded(digest.SHA256, f.SHA256))
		inside.Close()
		if err != nil {
			return false, ctx.Err()
		}
	}
	return true, nil
}
