package importer

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// clone makes the file out a copy of the file in. Both share their blocks until one of them is
// written to. It fails if the file system has no reflinks.
func clone(out, in *os.File) error { return unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) }

// ownership returns the number of hard links of a file. foreign means that another user owns the
// file, and this process cannot change the owner.
func ownership(info fs.FileInfo) (links uint64, foreign bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, true
	}
	return uint64(st.Nlink), int(st.Uid) != os.Geteuid() && os.Geteuid() != 0 //nolint:unconvert // another type on other platforms
}

func owned(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// noLinks reports whether err means that a hard link is impossible: the file system has none, the system
// forbids it, the file has too many, or the link would be on another file system.
func noLinks(err error) bool {
	return slices.ContainsFunc([]error{syscall.EPERM, syscall.ENOTSUP, syscall.ENOSYS, syscall.EMLINK, syscall.EXDEV},
		func(e error) bool { return errors.Is(err, e) })
}
