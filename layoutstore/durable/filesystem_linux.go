package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// SyncFileSystem syncs the file system that contains f. It fails with errors.ErrUnsupported if the
// operating system has no call for that.
func SyncFileSystem(f *os.File) error {
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}

// SpaceOf returns the space in the file system that contains f. It fails with errors.ErrUnsupported
// if the operating system has no call for that.
func SpaceOf(f *os.File) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return Space{}, os.NewSyscallError("fstatfs", err)
	}
	s := Space{Free: int64(st.Bavail) * st.Bsize, Total: int64(st.Blocks) * st.Bsize, Files: -1} //nolint:unconvert // the types differ between architectures
	if st.Files > 0 {
		s.Files = int64(st.Ffree)
	}
	if st.Fsid != (unix.Fsid{}) {
		s.ID = st.Fsid
	}
	return s, nil
}
