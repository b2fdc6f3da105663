package bundle

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// HasDigest reads bytes to their end and reports whether they have a digest. What cannot be
// read does not: the error is the context's.
func HasDigest(ctx context.Context, where extent.List, d digest.Digest) (bool, error) {
	r, err := where.Open()
	if err != nil {
		return false, ctx.Err()
	}
	defer r.Close()
	return verify(ctx, r, d)
}

// FileHasDigest does so with a file.
func FileHasDigest(ctx context.Context, name string, d digest.Digest) (bool, error) {
	f, err := plainfile.Open(name)
	if err != nil {
		return false, ctx.Err()
	}
	defer f.Close()
	return verify(ctx, f, d)
}

func verify(ctx context.Context, r io.Reader, d digest.Digest) (bool, error) {
	v := d.Verifier()
	// Without the reader's own methods: what is read has to pass the verifier.
	if _, err := io.CopyBuffer(v, struct{ io.Reader }{contextReader{ctx, r}}, make([]byte, 1<<18)); err != nil {
		return false, ctx.Err()
	}
	return v.Verified(), nil
}

// WithContext is a reader that fails when the context has ended.
func WithContext(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context // of the one copy that it is made for
	r   io.Reader
}

// Read implements io.Reader.
func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
