package plainfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// isLocalType reports whether a file system of this type opens files without a further machine or
// process. (Source: Linux, fs/open.c and each file system's open; include/uapi/linux/magic.h.)
func isLocalType(kind int64) bool {
	switch kind {
	case unix.TMPFS_MAGIC, unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC:
		return true
	}
	return false
}

// IsLocal reports whether [OpenCached] may open files in the directory dir.
func IsLocal(dir *os.File) bool {
	var about unix.Statfs_t
	err := control(dir, func(fd int) error { return unix.Fstatfs(fd, &about) })
	return err == nil && isLocalType(int64(about.Type))
}

// OpenCached opens the regular file name in dir. [IsLocal] must be true for dir. OpenCached follows
// no links, stays on the file system, and never reads from a disk. If it needs a disk, it fails
// with ErrWouldWait. Otherwise, it returns the same errors as [Open].
func OpenCached(dir *os.File, name string) (*os.File, fs.FileInfo, error) {
	if !filepath.IsLocal(name) {
		return nil, nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	var f *os.File
	err := control(dir, func(fd int) (err error) {
		f, err = openCached(fd, name, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
		return err
	})
	return asRegular(f, err)
}

// OpenCachedNoFollow is like OpenCached, but takes a path. It fails if the path is a link. The
// caller must have checked that the file system is local.
func OpenCachedNoFollow(path string) (*os.File, fs.FileInfo, error) {
	return asRegular(openCached(unix.AT_FDCWD, path, 0))
}

// resolveCached makes openat2 fail with EAGAIN if looking up the path would have to wait. (Source:
// RESOLVE_CACHED in Linux, include/uapi/linux/openat2.h.)
const resolveCached = 0x20

func openCached(dir int, name string, resolve uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOFOLLOW, Resolve: resolve | resolveCached}
	fd, err := unix.Openat2(dir, name, &how)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPERM):
		// Kernels before 5.12 do not support RESOLVE_CACHED, and a sandbox may refuse unknown flags.
		return nil, ErrWouldWait
	case err != nil:
		return nil, &fs.PathError{Op: "openat2", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// control calls the function do with the file descriptor of f, and keeps f open until do returns.
func control(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var doErr error
	err = conn.Control(func(fd uintptr) { doErr = do(int(fd)) })
	runtime.KeepAlive(f)
	return errors.Join(err, doErr)
}
