//go:build unix

package plainfile

import "syscall"

const (
	nonblock = syscall.O_NONBLOCK // it changes nothing about a regular file
	nofollow = syscall.O_NOFOLLOW
)
