// Generate writes the samples of this directory: a tree of OCI image layouts as
// d8 mirror pull makes it, some tens of kilobytes small.
//
// From the project's root,
//
//	go run ./examples/generate
//
// rewrites examples/bundle byte for byte, and
//
//	go run ./examples/generate DIR
//
// writes the same below DIR, which must be missing or empty. The bytes depend on
// nothing but this program's source, so that documentation and tests may quote
// digests; a test holds examples/bundle against it.
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

// output finds where to write. Only the sample in its usual place is removed: an
// argument may be anybody's directory.
func output(args []string) (string, error) {
	switch len(args) {
	case 0:
		dir := filepath.Join("examples", "bundle")
		if _, err := os.Stat(filepath.Join("examples", "generate", "main.go")); err != nil {
			return "", fmt.Errorf("%w\nhint: run it from the project's root", err)
		}
		return dir, os.RemoveAll(dir)
	case 1:
		entries, err := os.ReadDir(args[0])
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if len(entries) > 0 {
			return "", fmt.Errorf("%s is not empty", args[0])
		}
		return args[0], nil
	default:
		return "", errors.New("usage: generate [DIR]")
	}
}

// program is the layouttest.TB of a program that is no test.
type program struct{}

func (program) Helper() {}

func (program) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "generate: "+format+"\n", args...)
	os.Exit(1)
}
