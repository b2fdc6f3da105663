// Package durable writes files and directories that survive a crash.
//
// A rename alone is not enough: after a power cut the new name may lead to an empty file, or the
// old file may be back. [WriteFile] and [Create] write a file beside the old one, sync it before
// the rename, and sync the rename before they return. So whenever the machine stops, readers
// find either the old or the new content, and content that was reported as written survives.
//
// [MkdirAll] does the same for directories. [SyncDir] and [SyncTree] are for callers
// that rename many files and sync once.
//
// Caches do not need this: their content can be made again.
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// File is a new file in the directory of the file that it will replace.
type File struct {
	pending *pendingFile
	name    string
}

// Create starts a file that replaces name at [File.Commit]. It has the mode perm, under
// the process's umask.
func Create(name string, perm fs.FileMode) (*File, error) { return create(name, perm, false) }

func create(name string, perm fs.FileMode, keepMode bool) (*File, error) {
	f, err := newPending(name, perm, keepMode)
	if err != nil {
		return nil, err
	}
	return &File{f, name}, nil
}

// Write writes to the new file.
func (f *File) Write(p []byte) (int, error) { return f.pending.Write(p) }

// ReadFrom copies r into the new file, within the kernel if the system can.
func (f *File) ReadFrom(r io.Reader) (int64, error) { return f.pending.ReadFrom(r) }

// Commit replaces the old file by the new one, which survives a crash once Commit returns nil.
// After an error the name leads to the old file, or to the new one, which a crash may still undo.
func (f *File) Commit() error {
	if err := f.pending.CloseAtomicallyReplace(); err != nil {
		return errors.Join(err, f.pending.Cleanup())
	}
	return SyncDir(filepath.Dir(f.name))
}

// Discard removes the new file and keeps the old one. After Commit it does nothing.
func (f *File) Discard() error { return f.pending.Cleanup() }

// WriteFile replaces the file name with a new one that contains data. It keeps the mode of an
// existing file; a new file has the mode perm, under the process's umask. If name is a link, it
// replaces the link and does not follow it.
func WriteFile(name string, data []byte, perm fs.FileMode) error {
	f, err := create(name, perm, true)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Discard())
	}
	return f.Commit()
}

// WriteFileIn is [WriteFile] for a file below root. It also fails if the path leaves root.
func WriteFileIn(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	// The temporary file is created directly in the root, which therefore has to be the
	// directory of the file. With "." at the end, the open does not wait for a named pipe.
	dir, err := root.OpenRoot(filepath.Dir(name) + string(filepath.Separator) + ".")
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := replaceIn(dir, filepath.Base(name), data, perm); err != nil {
		return err
	}
	return syncOpened(dir.Open("."))
}

// WriteInPlace writes and syncs a file under its name. After a crash the file may be incomplete:
// use it for files that are renamed later.
func WriteInPlace(name string, data []byte, perm fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// MkdirAll creates a directory and its parents, and syncs each new directory entry.
func MkdirAll(dir string, perm fs.FileMode) error {
	var made []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil || d == filepath.Dir(d) {
			break
		}
		made = append(made, d)
	}
	if err := os.MkdirAll(dir, perm); err != nil {
		return err
	}
	for _, d := range made {
		if err := SyncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// SyncDir syncs the names in a directory that were created, renamed or removed. It does nothing on
// Windows, which does not need it.
func SyncDir(name string) error { return syncOpened(os.Open(name)) }

func syncOpened(dir *os.File, err error) error {
	if err != nil {
		return err
	}
	if runtime.GOOS != "windows" {
		err = dir.Sync()
	}
	return errors.Join(err, dir.Close())
}

// SyncTree syncs everything below a directory: on Linux with one call for its file system,
// elsewhere file by file.
func SyncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := SyncFileSystem(f); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return syncEach(dir)
}

// Space is the space that a file system has for a user who is not root.
type Space struct {
	Free, Total int64 // bytes
	Files       int64 // how many files may be added; negative if there is no limit
	ID          any   // of the file system, comparable; nil if it has none
}

// syncEach syncs the files and directories below dir, one by one.
func syncEach(dir string) error {
	return filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return SyncDir(name)
		case !e.Type().IsRegular():
			return nil
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
