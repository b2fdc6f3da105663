package extent

import (
	"os"

	"golang.org/x/sys/unix"
)

// isCold reports whether nothing of the window is in the page cache. It returns false on kernels
// before 6.5, which cannot tell.
func isCold(f *os.File, w window) bool {
	var have unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Off: uint64(w.off), Len: uint64(w.len)}, &have, 0)
	return err == nil && have.Cache == 0
}

// dropCached removes from the page cache all pages that are completely inside of the window, and
// that are neither dirty nor mapped.
func dropCached(f *os.File, w window) {
	// If this fails, the pages only use memory for longer.
	_ = unix.Fadvise(int(f.Fd()), w.off, w.len, unix.FADV_DONTNEED)
}
