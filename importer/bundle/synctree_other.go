//go:build !linux

package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// SyncTree makes what is below a directory durable, a file after the other.
func SyncTree(dir string) error {
	return filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return syncDir(name)
		case !e.Type().IsRegular():
			return nil
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return errors.Join(err, f.Close())
		}
		return f.Close()
	})
}
