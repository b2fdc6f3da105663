//go:build !windows

package layouttest

import (
	"syscall"
	"testing"
)

// MakePipe creates a named pipe. On Windows, it fails with errors.ErrUnsupported.
func MakePipe(name string) error { return syscall.Mkfifo(name, 0o644) }

// LimitFiles limits how many files this process may have open, until restore is called. It skips the test on Windows.
func LimitFiles(tb testing.TB, n uint64) (restore func()) {
	tb.Helper()
	var limit syscall.Rlimit
	Try(tb, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	Try(tb, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: limit.Max}))
	return func() { Try(tb, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)) }
}
