package volume

import (
	"path/filepath"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// JoinPath joins a directory and a slash-separated name. The directory may be a place in a bucket.
// Then name is a key, so JoinPath does not clean it.
func JoinPath(dir, name string) string {
	if !bucket.IsPlace(dir) {
		return filepath.Join(dir, filepath.FromSlash(name))
	}
	if name == "." || name == "" {
		return dir
	}
	return strings.TrimSuffix(dir, "/") + "/" + name
}

// CleanPath returns the shortest form of the path of a source. For a place in a bucket, it only
// removes slashes at the end.
func CleanPath(path string) string {
	if bucket.IsPlace(path) {
		return strings.TrimRight(path, "/")
	}
	return filepath.Clean(path)
}
