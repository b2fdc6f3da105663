//go:build !linux

package pull

import (
	"io/fs"
	"os"
	"path/filepath"
)

// syncTree makes what lies below a directory last, a file after the other.
func syncTree(dir string) error {
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
			return joinClose(err, f)
		}
		return f.Close()
	})
}
