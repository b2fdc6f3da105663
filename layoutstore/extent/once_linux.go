package extent

import (
	"os"

	"golang.org/x/sys/unix"
)

// isCold reports whether no page of the window is cached. It returns false for kernels before 6.5,
// which cannot report this.
func isCold(f *os.File, w window) bool {
	var have unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Off: uint64(w.off), Len: uint64(w.len)}, &have, 0)
	return err == nil && have.Cache == 0
}

// dropCached drops all pages inside the window from the page cache, except dirty and mapped pages.
func dropCached(f *os.File, w window) {
	// An error only means that the pages stay in memory longer.
	_ = unix.Fadvise(int(f.Fd()), w.off, w.len, unix.FADV_DONTNEED)
}
