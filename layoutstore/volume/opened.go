package volume

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// SetFile is one file of an archive, in the state in which the archive was found.
// Opening the archive fails once the file is in another one.
type SetFile struct {
	Path string
	Info fs.FileInfo
}

// Files are the files of the archive: itself, or its chunks up to the first that is
// missing. Files that look like a part of it and are not read are not among them.
func (s Set) Files() []SetFile {
	var all []SetFile
	for _, e := range s.files {
		if f, ok := setFile(e); ok {
			all = append(all, f)
		}
	}
	return all
}

func setFile(e extent.Extent) (SetFile, bool) {
	f, ok := e.File.(*archiveFile)
	if !ok {
		return SetFile{}, false
	}
	return SetFile{filepath.Join(f.dir, f.name), f.info}, true
}

// ReadFiles are those of the set's files that the archive was read from: not the chunks
// behind its end, which an earlier and longer set may have left, unless nothing but a
// few zeros is in them.
func (a *Archive) ReadFiles() []SetFile {
	var all []SetFile
	var start int64
	for _, e := range a.set.files {
		if f, ok := setFile(e); ok && (start < a.index.end || isPadding(e)) {
			all = append(all, f)
		}
		start += e.Len
	}
	return all
}

// maxPaddingFile bounds a chunk that may be all padding: writers of tar pad to less.
const maxPaddingFile = 64 << 10

// isPadding says whether a chunk is empty, or holds a few zeros.
func isPadding(e extent.Extent) bool {
	if e.Len > maxPaddingFile {
		return false
	}
	data, err := extent.List{e}.ReadAll()
	return err == nil && firstOf(data) < 0
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
