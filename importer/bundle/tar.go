package bundle

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/opencontainers/go-digest"
)

// copySize is how many bytes are copied at a time. They fit into the processor's cache, which makes
// hashing and writing fast.
const copySize = 1 << 17

const (
	tarBlock = 512
	// tarEnd is the size in bytes of the two blocks of zeros at the end of an archive.
	tarEnd = 2 * tarBlock
)

// tarHeader returns the header of an entry. If the name is long, an extra header for it comes first.
func tarHeader(name string, size int64) ([]byte, error) {
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg,
		Name:     name,
		Size:     size,
		Mode:     0o777,
		ModTime:  time.Unix(0, 0),
		Format:   tar.FormatGNU,
	})
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// padding returns the number of zero bytes that follow an entry of size bytes.
func padding(size int64) int64 { return -size & (tarBlock - 1) }

func tarSize(all []entry) (int64, error) {
	size := int64(tarEnd)
	for _, e := range all {
		h, err := tarHeader(e.name, e.size)
		if err != nil {
			return 0, err
		}
		size += int64(len(h)) + padding(e.size)
		if e.size > math.MaxInt64-size {
			return 0, fmt.Errorf("entry %s: according to the manifests, the archive has more than %d bytes: have the manifests in the source fixed", e.name, int64(math.MaxInt64))
		}
		size += e.size
	}
	return size, nil
}

// Open opens a blob by digest. The reader returns as many bytes as the manifests say, or an error.
type Open func(d digest.Digest) (io.ReadCloser, error)

// writeTar writes an archive with these entries. The bytes depend only on the entries.
func writeTar(w io.Writer, all []entry, open Open) error {
	buffer := make([]byte, copySize)
	for _, e := range all {
		if err := writeEntry(w, e, open, buffer); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	_, err := w.Write(make([]byte, tarEnd))
	return err
}

func writeEntry(w io.Writer, e entry, open Open, buffer []byte) error {
	h, err := tarHeader(e.name, e.size)
	if err != nil {
		return err
	}
	if _, err := w.Write(h); err != nil {
		return err
	}
	if err := copyEntry(w, e, open, buffer); err != nil {
		return err
	}
	_, err = w.Write(make([]byte, padding(e.size)))
	return err
}

func copyEntry(w io.Writer, e entry, open Open, buffer []byte) error {
	if e.blob == "" {
		_, err := w.Write(e.data)
		return err
	}
	r, err := open(e.blob)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, buffer)
	if err == nil && n != e.size {
		err = fmt.Errorf("read %d bytes, but the manifest says %d", n, e.size)
	}
	return err
}
