package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

const (
	staging    = journal.Dir + "/staging"
	stagedTree = staging + "/tree" // files to publish, at their future paths in the tree

	temporary = staging + "/tmp" // files that are being written
)

// StagedPath returns the path in staging for a file that will have the path name in the tree. For ".", this
// is the directory of all staged files.
func StagedPath(name string) string { return path.Join(stagedTree, name) }

// TemporaryPath returns the path in staging for a file that is still being written.
func TemporaryPath(name string) string { return path.Join(temporary, name) }

// IsTemporary reports whether name is in the directory in which [Store.CreateTemp] creates files.
func IsTemporary(name string) bool { return path.Dir(name) == temporary }

// Clear removes the staging directory with all files.
func (s *Store) Clear() error {
	if err := s.RemoveAll(staging); err != nil {
		return fmt.Errorf("clearing the staging directory of the store: %w", err)
	}
	return nil
}

// ClearExceptBlobs is like Clear, but keeps the staged blobs: if an interrupted import is repeated, it resumes
// from them.
func (s *Store) ClearExceptBlobs() error {
	err := s.sweep(func(at string) bool {
		_, _, isBlob := names.ParseBlobPath(at)
		return isBlob
	})
	if err != nil {
		return fmt.Errorf("clearing the staging directory of the store: %w", err)
	}
	for _, dir := range []string{temporary, stagedTree, staging} {
		_ = s.root.Remove(dir) // fails if the directory is not empty
	}
	return nil
}

// Sweep removes all staged files except the wanted ones. The keys of wanted are paths in the tree. Sweep also
// removes empty directories, because they would be published as layouts without an index.
func (s *Store) Sweep(wanted map[string]bool) error {
	return s.sweep(func(at string) bool { return wanted[at] })
}

func (s *Store) sweep(isWanted func(at string) bool) error {
	var dirs []string
	err := s.walkStaged(func(at string, dir bool) error {
		if dir {
			dirs = append(dirs, at)
			return nil
		}
		if isWanted(at) {
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

// walkStaged calls visit for each staged file and directory, with the path that it will have in the tree.
// Directories come before their content.
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
