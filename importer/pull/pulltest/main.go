package pulltest

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of a package that pulls. It fails if goroutines are left at the end. The
// directories of tests are in memory if there is enough space, because tests on a disk mostly wait
// for syncs. In the full tier, they are on disk.
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
