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
	stagedTree = staging + "/tree" // future files of the tree, at their paths
	temporary  = staging + "/tmp"  // files that are being written
)

// StagedPath returns the path in staging of the file that will have the path name in the tree. For
// "." it is the directory of all staged files.
func StagedPath(name string) string { return path.Join(stagedTree, name) }

// TemporaryPath returns the path in staging of a file that is being written.
func TemporaryPath(name string) string { return path.Join(temporary, name) }

// IsTemporary reports whether a path is that of a file created by [Store.CreateTemp].
func IsTemporary(name string) bool { return path.Dir(name) == temporary }

// Clear empties staging.
func (s *Store) Clear() error {
	if err := s.RemoveAll(staging); err != nil {
		return fmt.Errorf("clearing the staging directory of the store: %w", err)
	}
	return nil
}

// Sweep removes all staged files except the wanted ones, given by their paths in the tree. It also
// removes empty directories, which would be published as layouts without an index.
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

// walkStaged calls visit for each staged file and directory, with its path in the tree. Directories
// come before their content.
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

// stageFile stages a small file.
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
