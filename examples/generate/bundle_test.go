package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func TestBundleIsGenerated(t *testing.T) {
	dir := t.TempDir()
	writeBundle(t, dir)
	if diff := cmp.Diff(layouttest.ReadFiles(t, filepath.Join("..", "bundle")), layouttest.ReadFiles(t, dir)); diff != "" {
		t.Errorf("examples/bundle is out of date: run go run ./examples/generate (-examples/bundle +generated):\n%s", diff)
	}
}

func TestBundleStaysSmall(t *testing.T) {
	size := 0
	for _, data := range layouttest.ReadFiles(t, filepath.Join("..", "bundle")) {
		size += len(data)
	}
	if size > 100_000 {
		t.Errorf("examples/bundle has %d bytes, want at most 100,000", size)
	}
}

func TestOutputDirectory(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	missing := filepath.Join(empty, "missing")
	for _, test := range []struct {
		args []string
		want string // expected output directory; empty means that an error is expected
	}{
		{[]string{empty}, empty},
		{[]string{missing}, missing},
		{[]string{full}, ""},
		{[]string{"a", "b"}, ""},
		{nil, ""}, // the default directory exists only in the project's root, where tests do not run
	} {
		got, err := output(test.args)
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("output(%q) returned %q, error %v; want %q (empty means an error)", test.args, got, err, test.want)
		}
	}
}
