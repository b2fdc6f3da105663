//go:build !linux

package registry

import "syscall"

// setCork does nothing, because only Linux has TCP_CORK.
func setCork(syscall.RawConn, int) bool { return false }
