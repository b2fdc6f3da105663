package ready

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/imagefile"
)

// readFiles reads files from the layers of an image, and verifies the layers. If d is an index, it reads the
// first image, because all platforms have the same declarations. Errors about a wrong layer contain the
// parameter from as the place of the image.
func readFiles(ctx context.Context, d digest.Digest, from string, manifest func(digest.Digest) ([]byte, error),
	open func(context.Context, imagefile.Layer) (io.ReadCloser, error), names []string) (map[string][]byte, error) {
	found, err := closure.Layers(d, manifest)
	if err != nil {
		return nil, err
	}
	var layers []imagefile.Layer
	for _, l := range found {
		layers = append(layers, imagefile.Layer(l))
	}
	return imagefile.Read(ctx, layers, func(ctx context.Context, l imagefile.Layer) (io.ReadCloser, error) {
		r, err := open(ctx, l)
		if err != nil {
			return nil, err
		}
		return bundle.NewProvingReader(r, l.Digest, from), nil
	}, names...)
}
