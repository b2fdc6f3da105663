package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// ReleasesFile is the name of a file beside a bundle's archives. It lists the releases of Deckhouse.
const ReleasesFile = "deckhousereleases.yaml"

// ListFile returns the size of the file at path and, if wanted, its checksum, for an inventory.
// name is the name of the file in the bundle. If the file does not exist, ok is false. Errors come
// from the context and the file system.
func ListFile(ctx context.Context, path, name string, checksum bool) (f File, ok bool, err error) {
	f.Name = name
	if !checksum {
		info, err := os.Stat(path)
		if ok = err == nil && info.Mode().IsRegular(); ok {
			f.Size = info.Size()
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return f, ok, err
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

// listData returns the size and checksum of a file whose content is data.
func listData(name string, data []byte) File {
	sum := sha256.Sum256(data)
	return File{Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}
