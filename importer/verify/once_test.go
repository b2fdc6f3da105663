package verify_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// Run opens each file of a tree only once, and counts it once. It does not even read a damaged manifest again
// for the report.
func TestFilesAreReadOnce(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, s *sample){
		"whole": func(*testing.T, *sample) {},
		"a wrong manifest": func(t *testing.T, s *sample) {
			file := filepath.Join(s.Dir(), "install/blobs/sha256", s.digests["one"].Encoded())
			data := []byte(read(t, file))
			data[0] ^= 1
			layouttest.WriteFile(t, file, string(data))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := newSample(t, dir)
			damage(t, s)
			var mu sync.Mutex
			opened := map[string]int{} // number of times that each file was opened
			count := func(info fs.FileInfo) {
				mu.Lock()
				defer mu.Unlock()
				for _, file := range blobFiles(t, dir) {
					if at, err := os.Stat(file); err == nil && os.SameFile(info, at) {
						opened[file]++
					}
				}
			}
			tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Opened: count})
			if err != nil {
				t.Fatal(err)
			}
			report, err := verify.Run(t.Context(), tree.Snapshot(), verify.Options{Jobs: 2})
			if err != nil {
				t.Fatal(err)
			}
			if report.Whole != (name == "whole") || report.Files != len(opened) || len(opened) != len(blobFiles(t, dir)) {
				t.Errorf("Whole = %v, want %v; the report counts %d files, and %d files were opened, want %d of each", report.Whole, name == "whole", report.Files, len(opened), len(blobFiles(t, dir)))
			}
			for file, n := range opened {
				if n != 1 {
					t.Errorf("%s was opened %d times, want once", file, n)
				}
			}
		})
	}
}

func blobFiles(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, layout := range []string{"install", "modules/x"} {
		files, err := filepath.Glob(filepath.Join(dir, layout, "blobs/*/*"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, files...)
	}
	return all
}
