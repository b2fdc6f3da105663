package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// ReleasesFile is the file with the releases of Deckhouse beside the archives of a bundle.
const ReleasesFile = "deckhousereleases.yaml"

// FilesBeside returns the names of files that a bundle may have in addition to an archive or a
// chunk of the name: its checksum file.
func FilesBeside(name string) []string { return []string{sumName(name)} }

// ListFile describes a file for an inventory: its size and, if wanted, its checksum. name is its
// name in the bundle. ok is false if there is no such file. Errors: the context's; the file
// system's.
func ListFile(ctx context.Context, path, name string, checksum bool) (f File, ok bool, err error) {
	f.Name = name
	if !checksum {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return f, false, nil
		}
		if err != nil {
			return f, false, err
		}
		f.Size = info.Size()
		return f, true, nil
	}
	in, err := plainfile.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, false, nil
	}
	if err != nil {
		return f, false, err
	}
	defer in.Close()
	h := sha256.New()
	f.Size, err = io.CopyBuffer(h, struct{ io.Reader }{contextReader{ctx, in}}, make([]byte, copySize))
	f.SHA256 = hex.EncodeToString(h.Sum(nil))
	return f, err == nil, err
}

// ListData describes a file of which the content is in memory.
func ListData(name string, data []byte) File {
	sum := sha256.Sum256(data)
	return File{Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}

// FirstOf returns the first of some directories that has a file of the name, or the last one.
func FirstOf(name string, dirs ...string) string {
	for _, dir := range dirs {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	return filepath.Join(dirs[len(dirs)-1], filepath.FromSlash(name))
}
