//go:build unix

package plainfile

import "syscall"

const (
	nonblock = syscall.O_NONBLOCK // this flag has no effect on regular files
	nofollow = syscall.O_NOFOLLOW
)
