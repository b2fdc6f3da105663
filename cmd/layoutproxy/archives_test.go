package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// copies copies the archives of testdata/d8 to a new directory. It splits each archive for which
// cut returns true into chunks of 70,000 bytes.
func copies(t *testing.T, cut func(name string) bool) (dir string) {
	t.Helper()
	dir = t.TempDir()
	archives, err := filepath.Glob("testdata/d8/*.tar")
	if err != nil || len(archives) != 10 {
		t.Fatalf("found %d archives in testdata/d8, want 10 (error: %v)", len(archives), err)
	}
	for _, archive := range archives {
		data, err := os.ReadFile(archive)
		layouttest.Try(t, err)
		name := filepath.Base(archive)
		layouttest.Try(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
		if cut(name) {
			layouttest.Split(t, filepath.Join(dir, name), 70_000)
		}
	}
	return dir
}

func anything(string) bool { return true }
func nothing(string) bool  { return false }

// single returns one source per archive in dir: the archive file, or its first chunk.
func single(t *testing.T, dir string) (sources []string) {
	t.Helper()
	for _, pattern := range []string{"*.tar", "*.tar.0000.chunk"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		layouttest.Try(t, err)
		sources = append(sources, found...)
	}
	if len(sources) != 10 {
		t.Fatalf("found %d archives in %s, want 10", len(sources), dir)
	}
	return sources
}

// TestParityWithoutUnpacking pulls the same images as TestParity, but serves them from the archives without
// unpacking them.
func TestParityWithoutUnpacking(t *testing.T) {
	t.Parallel()
	want := expected(t, "testdata/d8/expected.tsv")
	some := func(name string) bool { return name == "platform.tar" || name == "package-versions.tar" }
	chunks := copies(t, anything)
	last := single(t, chunks)
	for i, chunk := range last {
		if other := chunk[:len(chunk)-len("0000.chunk")] + "0001.chunk"; exists(other) {
			last[i] = other
		}
	}
	mixed := copies(t, some)
	loose := filepath.Join(mixed, "module-console.tar")
	layouttest.Try(t, unpack(loose, mixed))
	layouttest.Try(t, os.Remove(loose))
	for form, sources := range map[string][]string{
		"in place": {"testdata/d8"},
		"chunks":   {chunks},
		"archives, chunks and an unpacked archive": {mixed},
		"one source per archive":                   single(t, copies(t, nothing)),
		"one source per archive, some in chunks":   single(t, copies(t, some)),
		"one chunk per archive as source":          last,
	} {
		if os.Getenv("LAYOUTPROXY_TEST_ALL") == "" && (form == "chunks" || form == "one source per archive") {
			continue // covered by the other forms; tested only with LAYOUTPROXY_TEST_ALL
		}
		t.Run(form, func(t *testing.T) {
			cache := t.TempDir()
			for range 2 { // the second start reads cached archive indexes
				p := start(t, append([]string{"--strict", "--cache-dir", cache}, sources...)...)
				if diff := cmp.Diff(want, pulled(t, p.addresses["registry"], want)); diff != "" {
					t.Error(diff)
				}
				p.signal(t, os.Interrupt)
				if err := <-p.ended; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
