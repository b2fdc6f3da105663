package extent

import (
	"os"

	"golang.org/x/sys/unix"
)

// isCold reports whether nothing of the window is in memory. Kernels before 6.5 cannot
// tell: then the window stays.
func isCold(f *os.File, w window) bool {
	var have unix.Cachestat_t
	err := control(f, func(fd int) error {
		return unix.Cachestat(uint(fd), &unix.CachestatRange{Off: uint64(w.off), Len: uint64(w.len)}, &have, 0)
	})
	return err == nil && have.Cache == 0
}

// dropCached removes the window from the page cache: pages completely inside of it that
// nobody has written to or mapped.
func dropCached(f *os.File, w window) {
	// If the kernel ignores the advice, memory is used for longer, and nothing else happens.
	_ = control(f, func(fd int) error { return unix.Fadvise(fd, w.off, w.len, unix.FADV_DONTNEED) })
}

func control(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var doErr error
	if err := conn.Control(func(fd uintptr) { doErr = do(int(fd)) }); err != nil {
		return err
	}
	return doErr
}
