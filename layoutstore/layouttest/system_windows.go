package layouttest

import (
	"errors"
	"testing"
)

// MakePipe creates a named pipe. On Windows, it fails with errors.ErrUnsupported.
func MakePipe(string) error { return errors.ErrUnsupported }

// LimitFiles limits how many files this process may have open, until restore is called. It skips the test on Windows.
func LimitFiles(tb testing.TB, _ uint64) (restore func()) {
	tb.Helper()
	tb.Skip("Windows cannot limit the number of open files")
	return nil
}
