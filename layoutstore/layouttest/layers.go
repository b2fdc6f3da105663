package layouttest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layers writes the layers of an image, and returns their descriptors and diff IDs. A diff ID is
// the digest of the uncompressed tar archive. If the layer is not an archive, its diff ID is its
// own digest.
func (l *Layout) layers(o Image) ([]ocispec.Descriptor, []digest.Digest) {
	l.tree.tb.Helper()
	usual := choose(o.Docker, MediaTypeDockerLayer, ocispec.MediaTypeImageLayerGzip)
	layers, diffIDs := []ocispec.Descriptor{}, []digest.Digest{}
	note := func(d ocispec.Descriptor, diffID digest.Digest) {
		layers, diffIDs = append(layers, d), append(diffIDs, diffID)
	}
	if len(o.Files) > 0 {
		var files []string
		for _, name := range slices.Sorted(maps.Keys(o.Files)) {
			files = append(files, name, o.Files[name])
		}
		archive := TarOf(l.tree.tb, files...)
		note(l.copyBlob(o.Algorithm, usual, bytes.NewReader(storedGzip(archive))), digest.FromBytes(archive))
	}
	for _, data := range o.Layers {
		d := l.copyBlob(o.Algorithm, cmp.Or(o.LayerMediaType, usual), bytes.NewReader(data))
		note(d, d.Digest)
	}
	for i, size := range o.LayerSizes {
		content := io.LimitReader(noise(o.Name, i), size)
		d := l.copyBlob(o.Algorithm, cmp.Or(o.LayerMediaType, usual), content)
		note(d, d.Digest)
	}
	return layers, diffIDs
}

// noise returns an endless stream of random bytes that depends only on the arguments. ChaCha8 is a
// published algorithm, so every version of Go returns the same bytes.
func noise(name string, layer int) io.Reader {
	seed := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", name, layer))
	return rand.NewChaCha8(seed)
}
