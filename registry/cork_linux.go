package registry

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// setCork makes the system hold back packets that are not full, or stop doing so, and
// reports whether it does.
func setCork(conn syscall.RawConn, on int) bool {
	var refused error
	err := conn.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, on) })
	return err == nil && refused == nil
}
