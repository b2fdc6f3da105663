package volume

import (
	"path/filepath"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// JoinPath returns the path of name, which has slashes, below a directory or a place in a bucket.
// In a bucket a name is part of a key, and stays as it is.
func JoinPath(dir, name string) string {
	if !bucket.IsPlace(dir) {
		return filepath.Join(dir, filepath.FromSlash(name))
	}
	if name == "." || name == "" {
		return dir
	}
	return strings.TrimSuffix(dir, "/") + "/" + name
}

// CleanPath returns the shortest form of the path of a source: of a place in a bucket without a
// slash at the end.
func CleanPath(path string) string {
	if bucket.IsPlace(path) {
		return strings.TrimRight(path, "/")
	}
	return filepath.Clean(path)
}
