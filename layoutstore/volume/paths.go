package volume

import (
	"path/filepath"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// JoinPath joins a directory, or a place in a bucket, and a slash-separated name. In a bucket the
// name is a key, so JoinPath does not clean it.
func JoinPath(dir, name string) string {
	if !bucket.IsPlace(dir) {
		return filepath.Join(dir, filepath.FromSlash(name))
	}
	if name == "." || name == "" {
		return dir
	}
	return strings.TrimSuffix(dir, "/") + "/" + name
}

// CleanPath returns the shortest form of the path of a source. A place in a bucket only loses
// the slashes at its end.
func CleanPath(path string) string {
	if bucket.IsPlace(path) {
		return strings.TrimRight(path, "/")
	}
	return filepath.Clean(path)
}
