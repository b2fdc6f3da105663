package layouttest

import (
	"bytes"
	// go-digest computes only algorithms that are linked in.
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
	return l.BlobAlg(digest.SHA256, mediaType, data)
}

// BlobAlg writes data as blobs/<alg>/<hex>.
func (l *Layout) BlobAlg(alg digest.Algorithm, mediaType string, data []byte) ocispec.Descriptor {
	l.tree.tb.Helper()
	return l.copyBlob(alg, mediaType, bytes.NewReader(data))
}

// BlobPath returns the file of the blob dgst, whether it exists or not.
func (l *Layout) BlobPath(dgst digest.Digest) string {
	return filepath.Join(l.dir, ocispec.ImageBlobsDir, dgst.Algorithm().String(), dgst.Encoded())
}

func (l *Layout) jsonBlob(alg digest.Algorithm, mediaType string, v any) ocispec.Descriptor {
	l.tree.tb.Helper()
	data, err := json.Marshal(v)
	l.check(err)
	return l.BlobAlg(alg, mediaType, data)
}

// copyBlob streams, so that tests may have layers larger than memory.
func (l *Layout) copyBlob(alg digest.Algorithm, mediaType string, content io.Reader) ocispec.Descriptor {
	l.tree.tb.Helper()
	if !alg.Available() {
		l.check(fmt.Errorf("digest algorithm %q is not available", alg))
	}
	dir := filepath.Join(l.dir, ocispec.ImageBlobsDir, alg.String())
	l.check(os.MkdirAll(dir, 0o755))
	digester := alg.Digester()
	temp := filepath.Join(dir, ".blob.tmp")
	size, err := copyFile(temp, io.TeeReader(content, digester.Hash()))
	l.check(err)
	l.check(os.Rename(temp, l.BlobPath(digester.Digest())))
	return ocispec.Descriptor{MediaType: mediaType, Digest: digester.Digest(), Size: size}
}

// writeFile puts data in place by a rename, because a reader may watch the tree. It
// does not sync: the trees of tests need not survive a power cut.
func writeFile(path string, data []byte) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if _, err := copyFile(temp, bytes.NewReader(data)); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

func copyFile(path string, content io.Reader) (int64, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, content)
	return n, errors.Join(err, f.Close())
}
