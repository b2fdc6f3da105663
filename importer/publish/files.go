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

// MkdirAll makes a directory and all that lead to it.
func (s *Store) MkdirAll(name string) error {
	if info, err := s.root.Stat(name); err == nil && info.IsDir() {
		return nil
	}
	if err := s.before("mkdir", name); err != nil {
		return err
	}
	return s.root.MkdirAll(name, 0o755)
}

// Rename moves a file, in the place of what has its new name.
func (s *Store) Rename(from, to string) error {
	if err := s.before("rename", to); err != nil {
		return err
	}
	return s.root.Rename(from, to)
}

// Link gives a file one more name.
func (s *Store) Link(from, to string) error {
	if err := s.before("link", to); err != nil {
		return err
	}
	return s.root.Link(from, to)
}

// LinkFrom gives a file from outside of the store a name in it.
func (s *Store) LinkFrom(outside, to string) error {
	if err := s.before("link", to); err != nil {
		return err
	}
	return os.Link(outside, filepath.Join(s.dir, to))
}

// TakeOwnership makes this process's user the owner of a file, and sets its mode.
func (s *Store) TakeOwnership(name string, mode fs.FileMode) error {
	if err := s.before("chmod", name); err != nil {
		return err
	}
	return errors.Join(s.root.Chown(name, os.Geteuid(), -1), s.root.Chmod(name, mode))
}

// Remove removes a file or an empty directory.
func (s *Store) Remove(name string) error {
	if err := s.before("remove", name); err != nil {
		return err
	}
	return s.root.Remove(name)
}

// RemoveAll removes a file or a directory with what is in it. What does not exist is no
// error.
func (s *Store) RemoveAll(name string) error {
	if err := s.before("remove", name); err != nil {
		return err
	}
	return s.root.RemoveAll(name)
}

// SyncAll has the file system of the store write out everything.
func (s *Store) SyncAll() error {
	if err := s.before("syncfs", "."); err != nil {
		return err
	}
	f, err := s.root.Open(journal.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return durable.SyncFileSystem(f)
}

// manyDirs is from how many directories on one syncfs is cheaper.
const manyDirs = 32

// syncDirs has the file system write out the entries of directories.
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

// SyncDir has the file system write out the entries of a directory.
func (s *Store) SyncDir(name string) error {
	if err := s.before("fsync", name); err != nil {
		return err
	}
	f, err := s.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// SyncNames has the file system write out the names in directories outside of a store.
// Where that is not possible the names are as lasting as can be.
func SyncNames(dirs map[string]bool) {
	for name := range dirs {
		f, err := os.Open(name)
		if err != nil {
			continue // it went with what was in it
		}
		if len(dirs) >= manyDirs && durable.SyncFileSystem(f) == nil {
			f.Close()
			return
		}
		_ = f.Sync()
		f.Close()
	}
}

// Output is a new file of a store.
type Output struct {
	file  *os.File
	store *Store
	path  string
}

// Create makes a new file for writing. It never opens one that exists: that may have
// another link, which is a blob of the tree.
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

// CreateTemp makes a new file with a name of its own, see [IsTemporary].
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

// Path is where the file is, below the store.
func (o *Output) Path() string { return o.path }

// File is the open file.
func (o *Output) File() *os.File { return o.file }

// Write writes to the file.
func (o *Output) Write(p []byte) (int, error) {
	if err := o.store.before("write", o.path); err != nil {
		return 0, err
	}
	return o.file.Write(p)
}

// Close closes the file. Its bytes are on disk after [Store.Publish], or [Store.SyncAll].
func (o *Output) Close() error { return o.file.Close() }

// Discard closes and removes the file.
func (o *Output) Discard() {
	o.file.Close()
	_ = o.store.Remove(o.path) // staging is emptied later anyway
}

func (o *Output) sync() error {
	if err := o.store.before("fsync", o.path); err != nil {
		return err
	}
	return o.file.Sync()
}

// WriteFile puts content at name, in the place of what was there. Either of them is there,
// complete, whenever the machine stops.
func (s *Store) WriteFile(name string, content func(io.Writer) error) error {
	f, err := s.CreateTemp()
	if err != nil {
		return err
	}
	return f.replace(name, content)
}

// replace writes the file and moves it to name.
func (o *Output) replace(name string, content func(io.Writer) error) error {
	if err := errors.Join(content(o), o.sync(), o.file.Close()); err != nil {
		o.Discard()
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := o.store.Rename(o.path, name); err != nil {
		o.Discard()
		return err
	}
	return o.store.SyncDir(path.Dir(name))
}
