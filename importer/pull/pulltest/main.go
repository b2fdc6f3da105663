package pulltest

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of a package that pulls, and fails if goroutines are left. The directories
// of tests are in memory if there is space, except in the full tier: on a disk, the tests would
// mostly wait for syncs.
func Main(m *testing.M) {
	cleanup := func() {}
	if dir, ok := memory(); ok && os.Getenv("LAYOUTPROXY_TEST_ALL") == "" {
		cleanup = func() { os.RemoveAll(dir) }
		if err := os.Setenv("TMPDIR", dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/docker/go-events.(*Broadcaster).run"), // distribution's
		goleak.Cleanup(func(code int) {
			cleanup()
			os.Exit(code)
		}))
}
