package volume

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// SetFile is one file of an archive, in the state in which the archive was found. Opening
// the archive fails after the file has changed.
type SetFile struct {
	Path string
	Info fs.FileInfo
}

// Files returns the files of the archive: itself, or its chunks up to the first missing one. It
// leaves out files that only look like a part of the archive.
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

// ReadFiles returns the files that contain the archive. Chunks after the archive's end may be left
// over from a longer set: it leaves them out, unless they contain only a few zeros. The error is
// the cause of ctx.
func (a *Archive) ReadFiles(ctx context.Context) ([]SetFile, error) {
	var all []SetFile
	var start int64
	for _, e := range a.set.files {
		if f, ok := setFile(e); ok && (start < a.index.end || isPadding(ctx, e)) {
			all = append(all, f)
		}
		start += e.Len
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return all, nil
}

// maxPaddingFile limits the size in bytes of a chunk that is only padding: tar writers pad less.
const maxPaddingFile = 64 << 10

// isPadding reports whether a chunk is empty or contains only a few zeros.
func isPadding(ctx context.Context, e extent.Extent) bool {
	if e.Len > maxPaddingFile {
		return false
	}
	data, err := extent.List{e}.ReadAll(ctx)
	return err == nil && indexNonZero(data) < 0
}

// Observe makes the Dir call opened with the state of each file that it opens. opened may be
// called from several goroutines at once. Call Observe before the Dir is used.
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
