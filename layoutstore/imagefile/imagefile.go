// Package imagefile reads files out of the layers of an image.
//
// Start with [Read]. It opens only the layers that it needs, from the top down. The file in the
// topmost layer counts, unless a layer above removes it with a whiteout, or replaces the file or
// one of its parent directories with something else (OCI image layer specification, "Applying
// Changesets"). Layers may be compressed with gzip or zstd, or not at all.
//
// Memory and time are limited, whatever a layer contains: each file and the unpacked size of each
// layer have a limit, and whiteouts of files that were not requested are ignored.
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
	// MaxFile is the size in bytes of the longest file that Read returns.
	MaxFile = 16 << 20
	// maxUnpacked limits how many bytes a layer unpacks to: a small layer can unpack to any size.
	maxUnpacked = 64 << 30
	// readToEnd is the size in bytes up to which a layer is read to its end even after the
	// last file was found, so that a reader can verify its digest.
	readToEnd = 16 << 20
)

// Layer is a layer of an image, as its manifest describes it.
type Layer struct {
	MediaType string
	Digest    digest.Digest
	Size      int64 // bytes
}

// Open opens the stored bytes of a layer. A reader that verifies their digest returns an error
// instead of io.EOF if it does not match.
type Open func(ctx context.Context, layer Layer) (io.ReadCloser, error)

// FormatError says that a layer is not an archive from which files can be read.
type FormatError struct {
	Layer digest.Digest
	Err   error
}

func (e *FormatError) Error() string { return fmt.Sprintf("layer %s: %v", e.Layer, e.Err) }

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// Read returns the contents of the named files, by name. It leaves out files that the image does
// not have. The layers are in the order of the manifest; Read skips those whose media type is not a
// tar archive. It fails if a layer cannot be read to its end while a file is still missing: the
// rest may contain the file.
//
// Errors: *FormatError; those of open and of the readers that it returns; the context's.
func Read(ctx context.Context, layers []Layer, open Open, names ...string) (map[string][]byte, error) {
	s := newSearch(names...)
	for _, layer := range slices.Backward(layers) {
		if len(s.missing) == 0 {
			break
		}
		if !strings.Contains(layer.MediaType, "tar") {
			continue // a layer of an artifact
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
	// Read to the end: a wrong digest explains why the content looks malformed.
	if in.err == nil {
		_, _ = io.Copy(io.Discard, in) // in records the error
	}
	if in.err != nil {
		return fmt.Errorf("layer %s: %w", layer.Digest, in.err)
	}
	if malformed != nil {
		return &FormatError{Layer: layer.Digest, Err: malformed}
	}
	return nil
}

// input reads the stored bytes of a layer, and records the error of its reader, to distinguish it
// from an error of the format.
type input struct {
	ctx context.Context // of the call of Read that created it
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
