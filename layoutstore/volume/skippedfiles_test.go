package volume_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// If more than 1000 files look like archives, only the first 1000 are listed. The last problem says
// that there are more.
func TestManySkippedFilesAreLimited(t *testing.T) {
	const most = 1000
	dir := t.TempDir()
	for i := range most + 2 {
		layouttest.WriteFile(t, filepath.Join(dir, fmt.Sprintf("%04d.tar.gz", i)), "")
	}
	found, err := volume.FindArchives(dir)
	layouttest.Try(t, err)
	if len(found.Problems) != most+1 {
		t.Fatalf("got %d problems, want %d", len(found.Problems), most+1)
	}
	const want = "more than 1000 files look like archives and are not read: the rest is not listed"
	if got := found.Problems[most].Reason; got != want {
		t.Errorf("the last problem is %q, want %q", got, want)
	}
}
