// Package plainfile opens regular files, and refuses all other types of files.
//
// Anyone who can write into a source can replace a file with a named pipe, a device or a socket, even
// just before it is opened. Opening a named pipe waits for a writer, possibly forever, and no context
// ends that wait. So this package opens files without waiting, and then checks the type of the open file.
//
// Start with [Open], [OpenIn] and [OpenRoot]. [OpenCached] is for callers that cannot wait for a
// disk. You do not need this package for files that the program created in its own directory.
package plainfile

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNotRegular means that a name leads to something other than a regular file. It wraps fs.ErrInvalid.
var ErrNotRegular error = notRegular{}

type notRegular struct{}

func (notRegular) Error() string { return "not a regular file" }
func (notRegular) Unwrap() error { return fs.ErrInvalid }

// ErrWouldWait means that opening a file may have to wait for a disk.
var ErrWouldWait = errors.New("opening the file may have to wait for a disk")

// ErrTooLong means that a file is longer than the limit for reading it into memory.
var ErrTooLong = errors.New("the file is too long")

// Open opens a regular file for reading. It follows links. If the file is not regular, it fails
// with ErrNotRegular. Other errors come from the file system.
func Open(name string) (*os.File, error) {
	return regular(os.OpenFile(name, os.O_RDONLY|nonblock, 0))
}

// OpenNoFollow is like Open, but fails if name is a link. If the system cannot check that, it fails
// with errors.ErrUnsupported.
func OpenNoFollow(name string) (*os.File, error) {
	if nofollow == 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
	}
	return regular(os.OpenFile(name, os.O_RDONLY|nonblock|nofollow, 0))
}

// OpenIn opens a regular file below root. It fails if the path leads out of root. Otherwise, it
// returns the same errors as [Open].
func OpenIn(root *os.Root, name string) (*os.File, error) {
	return regular(root.OpenFile(name, os.O_RDONLY|nonblock, 0))
}

// OpenInDir opens a regular file below the directory dir, like [OpenIn].
func OpenInDir(dir, name string) (*os.File, error) {
	root, err := OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return OpenIn(root, name)
}

// OpenRoot opens a directory like os.OpenRoot. If dir is a named pipe, it fails instead of waiting.
func OpenRoot(dir string) (*os.Root, error) {
	// With the slash at the end, the system refuses anything but a directory.
	return os.OpenRoot(dir + string(filepath.Separator))
}

// OpenRootIn opens a directory below root like root.OpenRoot. If dir is a named pipe, it fails
// instead of waiting.
func OpenRootIn(root *os.Root, dir string) (*os.Root, error) {
	return root.OpenRoot(dir + string(filepath.Separator) + ".")
}

// Read returns the content of a regular file. If the file is longer than limit bytes, Read fails
// with ErrTooLong. Otherwise, it returns the same errors as [Open].
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

// ReadKeyPair reads a certificate and its key, in PEM files of at most limit bytes each.
func ReadKeyPair(cert, key string, limit int64) (tls.Certificate, error) {
	certPEM, err := Read(cert, limit)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := Read(key, limit)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// regular returns the open file f if it is a regular file. Otherwise, it closes f and fails.
func regular(f *os.File, err error) (*os.File, error) {
	f, _, err = asRegular(f, err)
	return f, err
}

// asRegular is like regular, but also returns the attributes of the file.
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

// KindOf returns a noun for a file that is not regular, such as "named pipe".
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
