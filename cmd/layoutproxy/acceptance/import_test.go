package acceptance

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// If the disk has a read error, an import fails and names the file. The store does not change.
func TestImportFromFailingDisk(t *testing.T) {
	store, bundle := filepath.Join(t.TempDir(), "store"), t.TempDir()
	run(t, program, "import", abs(t, filepath.Join(bundleDir, "install")), "--store", store)
	layouttest.New(t, bundleDir).Bundle(bundle)
	before, archive := layouttest.ReadFiles(t, store), filepath.Join(bundle, "module-console.tar")
	// strace makes read fail. layoutproxy calls read for content, but pread64 for tar headers.
	stdout, stderr, err := execute(t, t.TempDir(), packaged(t, "strace"), []string{"-f", "-o", os.DevNull, "-P", archive,
		"-e", "trace=read", "-e", "inject=read:error=EIO", program, "import", bundle, "--store", store, "--cache-dir", ""})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(stderr, archive) || !strings.Contains(stderr, "input/output error") {
		t.Errorf("the import ended with %v; want exit status 3, and an input/output error of the archive:\n%s%s", err, stdout, stderr)
	}
	if !maps.Equal(layouttest.ReadFiles(t, store), before) {
		t.Error("the failed import has changed the store, want it unchanged")
	}
	run(t, program, "import", bundle, "--store", store, "--cache-dir", "")
}
