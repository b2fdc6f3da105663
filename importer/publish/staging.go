package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

const (
	staging    = journal.Dir + "/staging"
	stagedTree = staging + "/tree" // what will be in the tree, each at its path
	temporary  = staging + "/tmp"  // what is being written
)

// StagedPath is where in staging that waits which will be at name in the tree. "." is the
// directory of all that is staged.
func StagedPath(name string) string { return path.Join(stagedTree, name) }

// TemporaryPath is the path of a file that is being written.
func TemporaryPath(name string) string { return path.Join(temporary, name) }

// IsTemporary says whether a path is that of a file that [Store.CreateTemp] made.
func IsTemporary(name string) bool { return path.Dir(name) == temporary }

// Clear empties staging.
func (s *Store) Clear() error {
	if err := s.RemoveAll(staging); err != nil {
		return fmt.Errorf("emptying the staging of the store: %w", err)
	}
	return nil
}

// Sweep removes all from staging but the files that are wanted, by their paths in the
// tree: what an import before this one has left, or what this one does not publish after
// all. Directories that are empty then go too: they would be published, as layouts without
// an index.
func (s *Store) Sweep(wanted map[string]bool) error {
	var dirs []string
	err := s.walkStaged(func(at string, dir bool) error {
		if dir {
			dirs = append(dirs, at)
			return nil
		}
		if wanted[at] {
			return nil
		}
		return s.Remove(StagedPath(at))
	})
	if err != nil {
		return err
	}
	for _, at := range slices.Backward(dirs) {
		if entries, err := fs.ReadDir(s.root.FS(), StagedPath(at)); err != nil || len(entries) > 0 {
			continue
		}
		if err := s.Remove(StagedPath(at)); err != nil {
			return err
		}
	}
	return nil
}

// walkStaged visits what is staged for the tree: each directory before what is in it.
func (s *Store) walkStaged(visit func(at string, dir bool) error) error {
	err := fs.WalkDir(s.root.FS(), stagedTree, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == stagedTree {
			return err
		}
		return visit(strings.TrimPrefix(name, stagedTree+"/"), e.IsDir())
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// stageFile stages a file of a few bytes.
func (s *Store) stageFile(at string, data []byte) error {
	name := StagedPath(at)
	if err := s.RemoveAll(name); err != nil {
		return err
	}
	if err := s.MkdirAll(path.Dir(name)); err != nil {
		return err
	}
	f, err := s.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(bytesOf(data)(f), f.Close())
}
