package layouttest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layers writes an image's layers and returns them with their diff IDs, the digests of
// the uncompressed tar. The diff ID of a layer that is not a tar is its own digest.
func (l *Layout) layers(o Image) ([]ocispec.Descriptor, []digest.Digest) {
	l.tree.tb.Helper()
	usual := o.choose(MediaTypeDockerLayer, ocispec.MediaTypeImageLayerGzip)
	layers, diffIDs := []ocispec.Descriptor{}, []digest.Digest{}
	note := func(d ocispec.Descriptor, diffID digest.Digest) {
		layers, diffIDs = append(layers, d), append(diffIDs, diffID)
	}
	if len(o.Files) > 0 {
		archive, err := tarball(o.Files)
		l.check(err)
		note(l.BlobAlg(o.Algorithm, usual, storedGzip(archive)), digest.FromBytes(archive))
	}
	for _, data := range o.Layers {
		d := l.BlobAlg(o.Algorithm, cmp.Or(o.LayerMediaType, usual), data)
		note(d, d.Digest)
	}
	for i, size := range o.LayerSizes {
		content := io.LimitReader(noise(o.Name, i), size)
		d := l.copyBlob(o.Algorithm, cmp.Or(o.LayerMediaType, usual), content)
		note(d, d.Digest)
	}
	return layers, diffIDs
}

// tarball packs files in the order of their names, in the oldest format, which leaves
// archive/tar no choice.
func tarball(files map[string]string) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg,
			Name:     name,
			Size:     int64(len(files[name])),
			Mode:     0o644,
			ModTime:  time.Unix(0, 0),
			Format:   tar.FormatUSTAR,
		})
		if err != nil {
			return nil, fmt.Errorf("layer file %q: %w", name, err)
		}
		if _, err := io.WriteString(w, files[name]); err != nil {
			return nil, fmt.Errorf("layer file %q: %w", name, err)
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}

// noise returns an endless stream that depends on its arguments alone. ChaCha8 is a
// published algorithm, so it is the same in every version of Go.
func noise(name string, layer int) io.Reader {
	seed := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", name, layer))
	return rand.NewChaCha8(seed)
}
