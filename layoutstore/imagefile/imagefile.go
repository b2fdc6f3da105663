// Package imagefile reads files out of the layers of an image.
//
// Start with [Read]. It opens layers from the top down, and only as many as it takes: the
// file of the topmost layer counts, unless a layer above it removes it by a whiteout (OCI
// image layer specification, "Representing Changes"). Layers may be compressed with gzip or
// zstd, or not at all.
//
// Nothing in a layer makes it use unbounded memory or time: each file and the unpacked size
// of each layer have a limit, and whiteouts of files that nobody asked for are not kept.
package imagefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	// MaxFile is the size in bytes of the longest file that is read out of an image.
	MaxFile = 16 << 20
	// maxUnpacked is how many bytes a layer may unpack to: a few bytes can unpack to any number.
	maxUnpacked = 64 << 30
	// readToEnd is the size in bytes up to which a layer is read to its end after the last
	// file was found, so that a reader that checks the digest there gets to check it.
	readToEnd = 16 << 20
)

// Layer is a layer of an image, as its manifest describes it.
type Layer struct {
	MediaType string
	Digest    digest.Digest
	Size      int64 // bytes
}

// Open opens the bytes of a layer as they are stored. A reader that checks their digest
// reports a mismatch in place of the end.
type Open func(ctx context.Context, layer Layer) (io.ReadCloser, error)

// FormatError says that the bytes of a layer are no archive that files can be read from.
type FormatError struct {
	Layer digest.Digest
	Err   error
}

func (e *FormatError) Error() string { return fmt.Sprintf("layer %s: %v", e.Layer, e.Err) }

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// Read returns the contents of those named files that an image has; layers are those of its
// manifest, in its order. Layers of a media type that is no tar archive are skipped. A layer
// is an error if it cannot be read to its end and a file is still missing then: what was not
// read may contain it.
//
// Errors: *FormatError; those of open and of the readers that it returns; the context's.
func Read(ctx context.Context, layers []Layer, open Open, names ...string) (map[string][]byte, error) {
	s := newSearch(names...)
	for _, layer := range slices.Backward(layers) {
		if len(s.missing) == 0 {
			break
		}
		if !strings.Contains(layer.MediaType, "tar") {
			continue // of an artifact
		}
		if err := readLayer(ctx, s, layer, open); err != nil {
			return nil, err
		}
	}
	return s.found, nil
}

func readLayer(ctx context.Context, s *search, layer Layer, open Open) error {
	r, err := open(ctx, layer)
	if err != nil {
		return fmt.Errorf("layer %s: %w", layer.Digest, err)
	}
	defer r.Close()
	in := &input{ctx: ctx, r: r}
	malformed := s.layer(in)
	if malformed == nil && len(s.missing) == 0 && layer.Size > readToEnd {
		return nil
	}
	// To the end: wrong bytes are the cause of what looks malformed.
	if in.err == nil {
		_, _ = io.Copy(io.Discard, in) // in keeps the error
	}
	if in.err != nil {
		return fmt.Errorf("layer %s: %w", layer.Digest, in.err)
	}
	if malformed != nil {
		return &FormatError{Layer: layer.Digest, Err: malformed}
	}
	return nil
}

// input reads the stored bytes of a layer, and keeps the error that they ended with: so
// that one is distinguished from an error of the format.
type input struct {
	ctx context.Context // of the one call of Read that it is made for
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (i *input) Read(p []byte) (int, error) {
	if i.err == nil {
		i.err = i.ctx.Err()
	}
	if i.err != nil {
		return 0, i.err
	}
	n, err := i.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		i.err = err
	}
	return n, err
}
