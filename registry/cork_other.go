//go:build !linux

package registry

import "syscall"

// Only Linux can be asked for that.
func setCork(syscall.RawConn, int) bool { return false }
