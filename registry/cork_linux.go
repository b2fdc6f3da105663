package registry

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// setCork sets TCP_CORK to 1 or 0. While it is 1, Linux holds back packets that are not full.
// setCork reports whether that worked.
func setCork(conn syscall.RawConn, on int) bool {
	var refused error
	err := conn.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, on) })
	return err == nil && refused == nil
}
