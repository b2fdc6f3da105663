package importer

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// freeSpace is how many bytes and new files the file system of f has room for; files is
// negative where it does not count them.
func freeSpace(f *os.File) (bytes, files int64, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, 0, err
	}
	files = -1
	if st.Files > 0 {
		files = int64(st.Ffree)
	}
	return int64(st.Bavail) * st.Bsize, files, nil
}

// clone makes out share the blocks of in, on file systems that do so until either is
// written.
func clone(out, in *os.File) error { return unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) }

// ownership says how many names a file has, and whether another user owns it whom this
// process cannot take it from.
func ownership(info fs.FileInfo) (links uint64, foreign bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, true
	}
	return uint64(st.Nlink), int(st.Uid) != os.Geteuid() && os.Geteuid() != 0 //nolint:unconvert // another type elsewhere
}

// owned says whether this process's user owns a file.
func owned(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// noLinks says whether err tells that a file system has no (more) hard links.
func noLinks(err error) bool {
	for _, e := range []error{syscall.EPERM, syscall.ENOTSUP, syscall.ENOSYS, syscall.EMLINK, syscall.EXDEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
