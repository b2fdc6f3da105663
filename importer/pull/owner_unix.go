//go:build linux || darwin || freebsd || netbsd || openbsd

package pull

import (
	"os"
	"syscall"
)

// isOwn reports whether a file belongs to the user who runs this process.
func isOwn(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || stat.Uid == uint32(os.Geteuid())
}
