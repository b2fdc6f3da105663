package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// archiveFile is one file of an archive. It can be opened only if it has not changed since the
// archive was indexed.
type archiveFile struct {
	dir, name string
	shown     string
	info      fs.FileInfo
	local     bool // the file system is local; see plainfile.IsLocal
}

func (f *archiveFile) Open(ctx context.Context) (*os.File, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// Open the file by its path. To open it from its directory, each scan would have to keep the
	// directory open, and few of these open directories would ever be used. The path is safe,
	// because the user gave the directory, and the name in it has no slash.
	file, err := plainfile.OpenNoFollow(filepath.Join(f.dir, f.name))
	if err != nil {
		// The name may be a link to a file in the same directory. Otherwise, this call fails and
		// returns the reason.
		file, err = plainfile.OpenInDir(f.dir, f.name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w: %w", f.shown, extent.ErrStale, err)
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	return f.unchanged(file, info)
}

func (f *archiveFile) OpenCached() (*os.File, fs.FileInfo, error) {
	if !f.local {
		return nil, nil, plainfile.ErrWouldWait
	}
	file, info, err := plainfile.OpenCachedNoFollow(filepath.Join(f.dir, f.name))
	if err != nil {
		return nil, nil, err
	}
	file, err = f.unchanged(file, info)
	return file, info, err
}

// unchanged returns the open file if it has not changed since the archive was indexed. Otherwise,
// it closes the file and fails.
func (f *archiveFile) unchanged(file *os.File, info fs.FileInfo) (*os.File, error) {
	if !sameState(info, f.info) {
		file.Close()
		return nil, fmt.Errorf("%s: %w", f.shown, extent.ErrStale)
	}
	return file, nil
}

// Check implements extent.Checker. It ignores the change time, which also changes when a new file
// is renamed over the open file.
func (f *archiveFile) Check(info fs.FileInfo) error {
	if info.Size() != f.info.Size() || !info.ModTime().Equal(f.info.ModTime()) {
		return fmt.Errorf("%s: %w", f.shown, extent.ErrStale)
	}
	return nil
}

func (f *archiveFile) String() string { return f.shown }
