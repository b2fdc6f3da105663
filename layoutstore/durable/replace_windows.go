package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// pendingFile replaces the type of that name in renameio, which does not support Windows.
type pendingFile struct {
	*os.File
	to   string
	done bool
}

func newPending(name string, _ fs.FileMode, _ bool) (*pendingFile, error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"*")
	return &pendingFile{File: f, to: name}, err
}

// CloseAtomicallyReplace closes the file and renames it to its final name.
func (f *pendingFile) CloseAtomicallyReplace() error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	err := os.Rename(f.Name(), f.to)
	f.done = err == nil
	return err
}

// Cleanup removes the file unless CloseAtomicallyReplace has renamed it.
func (f *pendingFile) Cleanup() error {
	if f.done {
		return nil
	}
	f.Close() // this may fail, because the file may be closed already
	return os.Remove(f.Name())
}

// replaceIn overwrites a file in the directory dir. On Windows, this does not survive a crash.
func replaceIn(dir *os.Root, name string, data []byte, perm fs.FileMode) error {
	return dir.WriteFile(name, data, perm)
}
