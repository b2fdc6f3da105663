package volume

import (
	"io/fs"
	"os"
	"path/filepath"
)

// SetFile is one file of an archive, in the state in which the archive was found.
// Opening the archive fails once the file is in another one.
type SetFile struct {
	Path string
	Info fs.FileInfo
}

// Files are the files that the archive is read from: itself, or its chunks. Files that
// look like a part of it and are not read are not among them.
func (s Set) Files() []SetFile {
	var all []SetFile
	for _, e := range s.files {
		if f, ok := e.File.(*archiveFile); ok {
			all = append(all, SetFile{filepath.Join(f.dir, f.name), f.info})
		}
	}
	return all
}

// Observe has opened called with each file that is opened in the tree from now on, as
// it was when it was opened. It may be called from several goroutines at once. Observe
// itself may only be called before the Dir is used.
func (d *Dir) Observe(opened func(fs.FileInfo)) { d.opened = opened }

// observe reports a file that was opened.
func (d *Dir) observe(file *os.File, err error) (*os.File, error) {
	if err != nil || d == nil || d.opened == nil {
		return file, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	d.opened(info)
	return file, nil
}
