package ready

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/imagefile"
)

// layersOf returns the layers of an image. Of an index it takes the first image: each platform
// has the same declarations.
func layersOf(d digest.Digest, read func(digest.Digest) ([]byte, error)) (layers []imagefile.Layer, err error) {
	found, err := closure.Layers(d, read)
	for _, l := range found {
		layers = append(layers, imagefile.Layer(l))
	}
	return layers, err
}

func (s *sources) files(ctx context.Context, path, reference string, names ...string) (map[string][]byte, error, error) {
	in, err := s.at(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	d, err := in.repository.TagDigest(reference)
	if err != nil {
		return nil, err, nil
	}
	layers, err := layersOf(d, func(d digest.Digest) ([]byte, error) { return in.repository.ManifestBytes(ctx, d) })
	var files map[string][]byte
	if err == nil {
		files, err = imagefile.Read(ctx, layers, func(ctx context.Context, l imagefile.Layer) (io.ReadCloser, error) {
			blob, err := in.repository.Blob(ctx, l.Digest)
			if err != nil {
				return nil, err
			}
			r, err := blob.Open(ctx)
			if err != nil {
				return nil, err
			}
			return bundle.NewProvingReader(r, l.Digest, path), nil
		}, names...)
	}
	switch {
	case err == nil:
		return files, nil, nil
	case ctx.Err() != nil, errors.Is(err, layoutstore.ErrStale), layoutstore.IsExhausted(err):
		return nil, nil, err
	}
	return nil, err, nil
}
