package volume

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// SetFile is one file of an archive, in the state in which it was found. If the file has
// changed since, reading it as a part of the archive fails.
type SetFile struct {
	Path string
	Info fs.FileInfo
}

// Files returns the file of the archive, or its chunks before the first missing one. For an archive
// in a bucket, it returns none.
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

// ReadFiles returns the files that contain the archive. It omits chunks after the archive's end, which may
// be left over from a longer set, unless they contain only a few zeros. If no end was found, it omits all
// files except such padding. If ctx ends, it returns the cause.
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

// maxPaddingFile is the maximum size in bytes of a chunk that counts as padding. tar programs write
// less padding.
const maxPaddingFile = 64 << 10

// isPadding reports whether a chunk is empty or contains only a few zeros.
func isPadding(ctx context.Context, e extent.Extent) bool {
	if e.Len > maxPaddingFile {
		return false
	}
	data, err := extent.List{e}.ReadAll(ctx)
	return err == nil && indexNonZero(data) < 0
}

// Observe makes the Dir call opened with the state of each file that it opens. Several goroutines
// may call opened at the same time. Call Observe before using the Dir.
func (d *Dir) Observe(opened func(fs.FileInfo)) { d.opened = opened }

// observe passes the state of an open file to the observer.
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
