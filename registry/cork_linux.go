package registry

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// setCork turns TCP_CORK on (1) or off (0): while it is on, the system holds back packets
// that are not full. It reports success.
func setCork(conn syscall.RawConn, on int) bool {
	var refused error
	err := conn.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, on) })
	return err == nil && refused == nil
}
