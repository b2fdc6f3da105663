// Package durable writes files and directories so that they survive a crash.
//
// A rename alone is not enough: after a power cut, the new name may lead to an empty file, or the
// old file may be back. [WriteFile], and [Create] with [File.Commit], write a new file beside the old
// one and sync it. Then they rename it, and sync the directory before they return. So after a crash,
// readers find either the old or the new content. Content that was reported as written survives.
//
// [MkdirAll] does the same for directories. [SyncDir] and [SyncTree] are for callers that rename
// many files and sync once.
//
// Caches do not need this package, because their content can be made again.
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// File is a new file. It is in the directory of the file that it will replace.
type File struct {
	pending *pendingFile
	name    string
}

// Create starts a new file that replaces the file called name when [File.Commit] is called. The new
// file has the mode perm, minus the process's umask.
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

// ReadFrom copies r into the new file. If possible, the kernel copies the data itself.
func (f *File) ReadFrom(r io.Reader) (int64, error) { return f.pending.ReadFrom(r) }

// Commit replaces the old file with the new one. If it returns nil, the new file survives a crash.
// If it fails, name leads to the old or the new file, and a crash may still undo the replacement.
func (f *File) Commit() error {
	if err := f.pending.CloseAtomicallyReplace(); err != nil {
		return errors.Join(err, f.pending.Cleanup())
	}
	return SyncDir(filepath.Dir(f.name))
}

// Discard removes the new file and keeps the old one. After Commit, it does nothing.
func (f *File) Discard() error { return f.pending.Cleanup() }

// WriteFile replaces the file called name with a new file that contains data. The new file has the
// mode of the old one. If there is no old file, the mode is perm, minus the process's umask. If
// name is a symbolic link, WriteFile replaces the link.
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

// WriteFileIn is [WriteFile] for a file below root. It also fails if the path leads out of root.
func WriteFileIn(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	// renameio creates the temporary file directly in the root, so the root must be the directory of the
	// file. The "." at the end keeps OpenRoot from waiting if the name is that of a named pipe.
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

// WriteInPlace writes and syncs a file under its final name. After a crash the file may be
// incomplete. Use it only for files that are renamed later.
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

// SyncDir syncs a directory, so that created, renamed and removed names in it survive a crash. It
// does nothing on Windows, which does not need it.
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

// SyncTree syncs everything below a directory. On Linux, one call syncs the complete file system.
// Elsewhere, SyncTree syncs file by file.
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

// Space is the space in a file system.
type Space struct {
	// Free and Total are in bytes. Free does not include the part that is reserved for root.
	Free, Total int64
	// Files is how many more files can be created. A negative number means no limit.
	Files int64
	// ID identifies the file system, and can be compared with ==. nil means that the file system has no ID.
	ID any
}

// syncEach syncs the files and directories below dir one by one.
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
