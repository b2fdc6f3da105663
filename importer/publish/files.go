package publish

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// MkdirAll creates a directory and its missing parents.
func (s *Store) MkdirAll(name string) error {
	if info, err := s.root.Stat(name); err == nil && info.IsDir() {
		return nil
	}
	return s.change("mkdir", name, func() error { return s.root.MkdirAll(name, 0o755) })
}

// change calls do, unless the hook Options.Before returns an error.
func (s *Store) change(op, name string, do func() error) error {
	if err := s.before(op, name); err != nil {
		return err
	}
	return do()
}

// Rename moves a file, and replaces an existing file at the new path.
func (s *Store) Rename(from, to string) error {
	return s.change("rename", to, func() error { return s.root.Rename(from, to) })
}

// Link creates a hard link.
func (s *Store) Link(from, to string) error {
	return s.change("link", to, func() error { return s.root.Link(from, to) })
}

// LinkFrom creates a hard link in the store to a file outside of it.
func (s *Store) LinkFrom(outside, to string) error {
	return s.change("link", to, func() error { return os.Link(outside, filepath.Join(s.dir, to)) })
}

// TakeOwnership makes the user of this process the owner of a file, and sets the file's mode.
func (s *Store) TakeOwnership(name string, mode fs.FileMode) error {
	return s.change("chmod", name, func() error {
		return errors.Join(s.root.Chown(name, os.Geteuid(), -1), s.root.Chmod(name, mode))
	})
}

// Remove removes a file or an empty directory.
func (s *Store) Remove(name string) error {
	return s.change("remove", name, func() error { return s.root.Remove(name) })
}

// RemoveAll removes a file, or a directory with its content. It returns nil if name does not
// exist.
func (s *Store) RemoveAll(name string) error {
	return s.change("remove", name, func() error { return s.root.RemoveAll(name) })
}

// SyncAll syncs the complete file system of the store to disk (syncfs).
func (s *Store) SyncAll() error {
	return s.change("syncfs", ".", func() error { return s.syncOpened(journal.Dir, durable.SyncFileSystem) })
}

func (s *Store) syncOpened(name string, sync func(*os.File) error) error {
	f, err := s.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return sync(f)
}

// manyDirs is the number of directories at which a single syncfs becomes faster than syncing each directory.
const manyDirs = 32

func (s *Store) syncDirs(dirs map[string]bool) error {
	if len(dirs) >= manyDirs {
		return s.SyncAll()
	}
	for name := range dirs {
		if err := s.SyncDir(name); err != nil {
			return err
		}
	}
	return nil
}

// SyncDir syncs a directory to disk.
func (s *Store) SyncDir(name string) error {
	return s.change("fsync", name, func() error { return s.syncOpened(name, (*os.File).Sync) })
}

// SyncNames syncs directories outside of a store to disk, so that renames in them survive a power cut. It
// ignores errors.
func SyncNames(dirs map[string]bool) {
	for name := range dirs {
		f, err := os.Open(name)
		if err != nil {
			continue // ignore the error: for example, the directory was removed
		}
		if len(dirs) >= manyDirs && durable.SyncFileSystem(f) == nil {
			f.Close()
			return
		}
		_ = f.Sync()
		f.Close()
	}
}

// Output is a new file in a store, open for writing.
type Output struct {
	file  *os.File
	store *Store
	path  string
}

// Create creates a new file for writing. If the file exists, it returns an error, because the file may be a
// hard link of a blob in the tree.
func (s *Store) Create(name string) (*Output, error) {
	if err := s.before("create", name); err != nil {
		return nil, err
	}
	f, err := s.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &Output{f, s, name}, nil
}

// CreateTemp creates a new file with a unique temporary name, which [IsTemporary] recognizes.
func (s *Store) CreateTemp() (*Output, error) {
	if err := s.MkdirAll(temporary); err != nil {
		return nil, err
	}
	for {
		f, err := s.Create(TemporaryPath(fmt.Sprint(s.temps.Add(1))))
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

// Path returns the path of the file, below the directory of the store.
func (o *Output) Path() string { return o.path }

// File returns the open file.
func (o *Output) File() *os.File { return o.file }

// Write writes to the file.
func (o *Output) Write(p []byte) (int, error) {
	if err := o.store.before("write", o.path); err != nil {
		return 0, err
	}
	return o.file.Write(p)
}

// Close closes the file. Its bytes are on disk only after [Store.Publish] or [Store.SyncAll].
func (o *Output) Close() error { return o.file.Close() }

// Discard closes and removes the file.
func (o *Output) Discard() {
	o.file.Close()
	_ = o.store.Remove(o.path) // on error, staging is cleared later anyway
}

// WriteFile replaces a file atomically. After a crash, the file has either the old or the new content.
func (s *Store) WriteFile(name string, content func(io.Writer) error) error {
	f, err := s.CreateTemp()
	if err != nil {
		return err
	}
	return f.replace(name, content)
}

// replace writes content to the file, syncs it, and moves it to name.
func (o *Output) replace(name string, content func(io.Writer) error) error {
	if err := errors.Join(content(o), o.store.change("fsync", o.path, o.file.Sync), o.file.Close()); err != nil {
		o.Discard()
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := o.store.Rename(o.path, name); err != nil {
		o.Discard()
		return err
	}
	return o.store.SyncDir(path.Dir(name))
}
