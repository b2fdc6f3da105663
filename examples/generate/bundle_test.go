package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBundleIsWhatGenerateWrites(t *testing.T) {
	dir := t.TempDir()
	writeBundle(t, dir)
	if diff := cmp.Diff(read(t, filepath.Join("..", "bundle")), read(t, dir)); diff != "" {
		t.Errorf("run go run ./examples/generate; in examples/bundle (-) and made now (+):\n%s", diff)
	}
}

func TestBundleStaysSmall(t *testing.T) {
	size := 0
	for _, data := range read(t, filepath.Join("..", "bundle")) {
		size += len(data)
	}
	if size > 100_000 {
		t.Errorf("examples/bundle holds %d bytes", size)
	}
}

func TestOutput(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	missing := filepath.Join(empty, "missing")
	for _, test := range []struct {
		args []string
		want string // empty for an error
	}{
		{[]string{empty}, empty},
		{[]string{missing}, missing},
		{[]string{full}, ""},
		{[]string{"a", "b"}, ""},
		{nil, ""}, // a test does not run in the project's root
	} {
		got, err := output(test.args)
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%q: %q, %v", test.args, got, err)
		}
	}
}

// read returns every file below dir by its path.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
