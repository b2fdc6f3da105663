package layouttest

import (
	"bytes"
	// go-digest supports only hash algorithms that the program imports.
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Blob writes data as blobs/sha256/<hex>.
func (l *Layout) Blob(mediaType string, data []byte) ocispec.Descriptor {
	l.tree.tb.Helper()
	return l.copyBlob(digest.SHA256, mediaType, bytes.NewReader(data))
}

// BlobPath returns the path of the file for the blob dgst. The file may be missing.
func (l *Layout) BlobPath(dgst digest.Digest) string {
	return filepath.Join(l.dir, ocispec.ImageBlobsDir, dgst.Algorithm().String(), dgst.Encoded())
}

func (l *Layout) jsonBlob(alg digest.Algorithm, mediaType string, v any) ocispec.Descriptor {
	l.tree.tb.Helper()
	data, err := json.Marshal(v)
	Try(l.tree.tb, err)
	return l.copyBlob(alg, mediaType, bytes.NewReader(data))
}

// copyBlob writes content as blobs/<alg>/<hex>. The content may be larger than memory.
func (l *Layout) copyBlob(alg digest.Algorithm, mediaType string, content io.Reader) ocispec.Descriptor {
	l.tree.tb.Helper()
	if !alg.Available() {
		Try(l.tree.tb, fmt.Errorf("digest algorithm %q is not available", alg))
	}
	dir := filepath.Join(l.dir, ocispec.ImageBlobsDir, alg.String())
	Try(l.tree.tb, os.MkdirAll(dir, 0o755))
	digester := alg.Digester()
	temp := filepath.Join(dir, ".blob.tmp")
	size, err := copyFile(temp, io.TeeReader(content, digester.Hash()))
	Try(l.tree.tb, err)
	Try(l.tree.tb, os.Rename(temp, l.BlobPath(digester.Digest())))
	return ocispec.Descriptor{MediaType: mediaType, Digest: digester.Digest(), Size: size}
}

// replace writes a temporary file and renames it, because a reader may watch the tree. It does not
// sync, because the trees of tests need not survive a power cut.
func replace(file string, write func(*os.File) error) error {
	temp := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".tmp")
	f, err := os.Create(temp)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(temp, file)
}

func copyFile(path string, content io.Reader) (int64, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, content)
	return n, errors.Join(err, f.Close())
}
