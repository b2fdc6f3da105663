//go:build !linux

package registry

import "syscall"

// setCork does nothing: only Linux supports it.
func setCork(syscall.RawConn, int) bool { return false }
