// Generate writes the sample bundle: a tree of OCI image layouts as d8 mirror pull writes it, but
// only some tens of kilobytes in size.
//
//	go run ./examples/generate [DIR]
//
// Without DIR, generate replaces examples/bundle; run it in the project's root. DIR must be missing
// or empty. The bytes depend only on the source of this program, so that documents and tests can
// quote digests. A test compares them with examples/bundle.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	dir, err := output(os.Args[1:])
	if err != nil {
		program{}.Fatalf("%v", err)
	}
	writeBundle(program{}, dir)
}

// output returns the directory to write to. If no directory is given, it removes the old
// examples/bundle. A given directory must be missing or empty.
func output(args []string) (string, error) {
	switch len(args) {
	case 0:
		dir := filepath.Join("examples", "bundle")
		if _, err := os.Stat(filepath.Join("examples", "generate", "main.go")); err != nil {
			return "", fmt.Errorf("%w\nhint: run examples/generate in the project's root", err)
		}
		return dir, os.RemoveAll(dir)
	case 1:
		entries, err := os.ReadDir(args[0])
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if len(entries) > 0 {
			return "", fmt.Errorf("the output directory %s is not empty", args[0])
		}
		return args[0], nil
	default:
		return "", errors.New("usage: go run ./examples/generate [DIR]")
	}
}

// program implements layouttest.TB, so that this program can use functions for tests.
type program struct{}

func (program) Helper() {}

func (program) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "generate: "+format+"\n", args...)
	os.Exit(1)
}
