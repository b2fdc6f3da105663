// Package plainfile opens regular files, and nothing else.
//
// Anyone who can write into a source can replace a file by a named pipe, a device or a socket, even
// between the moment it is found and the moment it is opened. Opening a named pipe waits for a
// writer, possibly forever, and no context ends that wait. So these functions open without
// waiting, and check the type of the open file.
//
// Start with [Open], [OpenIn] and [OpenRoot]; [OpenCached] is for callers that cannot wait
// for a disk. Files that the program created in its own directory do not need this package.
package plainfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNotRegular says that a name does not lead to a regular file. It wraps fs.ErrInvalid.
var ErrNotRegular error = notRegular{}

type notRegular struct{}

func (notRegular) Error() string { return "not a regular file" }
func (notRegular) Unwrap() error { return fs.ErrInvalid }

// ErrWouldWait says that a file cannot be opened just from the system's memory.
var ErrWouldWait = errors.New("opening the file may have to wait for a disk")

// ErrTooLong says that a file is longer than may be read into memory.
var ErrTooLong = errors.New("the file is too long")

// Open opens a regular file for reading, and follows links. Errors: ErrNotRegular; the
// file system's.
func Open(name string) (*os.File, error) {
	return regular(os.OpenFile(name, os.O_RDONLY|nonblock, 0))
}

// OpenNoFollow is Open, but fails if name is a link. Errors: also errors.ErrUnsupported if the
// system cannot check that.
func OpenNoFollow(name string) (*os.File, error) {
	if nofollow == 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
	}
	return regular(os.OpenFile(name, os.O_RDONLY|nonblock|nofollow, 0))
}

// OpenIn opens a regular file below root. Errors: those of [Open]; those of a path that leaves root.
func OpenIn(root *os.Root, name string) (*os.File, error) {
	return regular(root.OpenFile(name, os.O_RDONLY|nonblock, 0))
}

// OpenInDir opens a regular file below the directory dir. Errors: those of [OpenIn].
func OpenInDir(dir, name string) (*os.File, error) {
	root, err := OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return OpenIn(root, name)
}

// OpenRoot opens a directory as os.OpenRoot does, but does not wait if dir is a named pipe.
func OpenRoot(dir string) (*os.Root, error) {
	// The slash at the end makes the system refuse anything but a directory.
	return os.OpenRoot(dir + string(filepath.Separator))
}

// OpenRootIn opens a directory below root as root.OpenRoot does, but does not wait if dir is a
// named pipe.
func OpenRootIn(root *os.Root, dir string) (*os.Root, error) {
	return root.OpenRoot(dir + string(filepath.Separator) + ".")
}

// Read reads a regular file of at most limit bytes. Errors: those of [Open]; ErrTooLong.
func Read(name string, limit int64) ([]byte, error) {
	f, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("more than %d bytes: %w", limit, ErrTooLong)}
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// regular returns the file if it is a regular one.
func regular(f *os.File, err error) (*os.File, error) {
	f, _, err = asRegular(f, err)
	return f, err
}

// asRegular is regular, and also returns the state of the file.
func asRegular(f *os.File, err error) (*os.File, fs.FileInfo, error) {
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: f.Name(), Err: fmt.Errorf("a %s, %w", KindOf(info.Mode()), ErrNotRegular)}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// KindOf returns the type of something that is not a regular file, as a noun.
func KindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}
