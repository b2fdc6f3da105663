// Package imagefile reads files from the layers of an image.
//
// Start with [Read]. It opens the layers from the top down, and only as many as it needs. It returns
// each file from the topmost layer that contains it. If a layer above removes that file with a whiteout, or
// replaces it or one of its parent directories, the image does not contain the file (OCI image
// layer specification, "Applying Changesets"). A layer may be compressed with gzip or zstd.
//
// Memory and time are limited, whatever a layer contains. Each file has a size limit, and so has
// each unpacked layer. Whiteouts of files that were not requested are ignored.
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
	// MaxFile is the maximum size in bytes of a file that Read returns.
	MaxFile = 16 << 20
	// maxUnpacked is the maximum size in bytes of an unpacked layer. Without this limit, a small
	// layer could unpack to any size.
	maxUnpacked = 64 << 30
	// readToEnd is the maximum size in bytes of a layer that Read reads to its end after finding
	// all files. Only a reader that has reached the end can verify the digest.
	readToEnd = 16 << 20
)

// Layer is a layer of an image, as described by its manifest.
type Layer struct {
	MediaType string
	Digest    digest.Digest
	Size      int64 // bytes
}

// Open opens the stored content of a layer. The reader may verify the digest. In case of a
// mismatch, it must return an error instead of io.EOF.
type Open func(ctx context.Context, layer Layer) (io.ReadCloser, error)

// FormatError means that a layer is not an archive from which files can be read.
type FormatError struct {
	Layer digest.Digest
	Err   error
}

func (e *FormatError) Error() string { return fmt.Sprintf("layer %s: %v", e.Layer, e.Err) }

// Unwrap returns the cause of the error.
func (e *FormatError) Unwrap() error { return e.Err }

// Read returns the contents of the named files, by name. If the image does not contain a file, Read omits
// it. The layers are in the order of the manifest. Read skips layers whose media type is not a tar archive.
// It fails if it has to read a layer to its end and cannot, because the rest might contain a file.
//
// The error is a *FormatError, an error of open or of its readers, or the error of ctx.
func Read(ctx context.Context, layers []Layer, open Open, names ...string) (map[string][]byte, error) {
	s := newSearch(names...)
	for _, layer := range slices.Backward(layers) {
		if len(s.missing) == 0 {
			break
		}
		if !strings.Contains(layer.MediaType, "tar") {
			continue // this layer belongs to an artifact
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
	malformed := s.searchLayer(in)
	if malformed == nil && len(s.missing) == 0 && layer.Size > readToEnd {
		return nil
	}
	// Read the layer to its end. If the content looks malformed, the reader may then report a wrong
	// digest, which explains it.
	if in.err == nil {
		_, _ = io.Copy(io.Discard, in) // in has recorded the error
	}
	if in.err != nil {
		return fmt.Errorf("layer %s: %w", layer.Digest, in.err)
	}
	if malformed != nil {
		return &FormatError{Layer: layer.Digest, Err: malformed}
	}
	return nil
}

// input reads the stored content of a layer. It records the error of the underlying reader, so that
// the caller can distinguish it from a format error.
type input struct {
	ctx context.Context
	r   io.Reader
	err error
}

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
