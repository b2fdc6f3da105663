package ready

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/imagefile"
)

// maxNested is how many indexes may lead to an image, one inside the other.
const maxNested = 8

// layersOf returns the layers of an image, or of the first one of an index: each platform has the
// same declarations.
func layersOf(d digest.Digest, read func(digest.Digest) ([]byte, error)) (layers []imagefile.Layer, err error) {
	for range maxNested {
		body, err := read(d)
		if err != nil {
			return nil, err
		}
		refs, err := closure.Parse(body)
		if err != nil {
			return nil, err
		}
		if len(refs.Children) > 0 {
			d = refs.Children[0].Digest
			continue
		}
		for i, b := range refs.Blobs {
			if i > 0 { // behind the config
				layers = append(layers, imagefile.Layer{MediaType: b.MediaType, Digest: b.Digest, Size: b.Size})
			}
		}
		return layers, nil
	}
	return nil, fmt.Errorf("an index of indexes, more than %d deep", maxNested)
}

// proving reads bytes, and reports a wrong digest in place of their end.
type proving struct {
	io.ReadCloser
	want digest.Digest
	sum  digest.Verifier
}

func newProving(r io.ReadCloser, d digest.Digest) *proving { return &proving{r, d, d.Verifier()} }

// Read implements io.Reader.
func (p *proving) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	_, _ = p.sum.Write(b[:n]) // a hash takes everything
	if errors.Is(err, io.EOF) && !p.sum.Verified() {
		return n, fmt.Errorf("%w: %s has other bytes", errChecksum, p.want)
	}
	return n, err
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
			return newProving(r, l.Digest), nil
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
