package bundle

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// HasDigest reads content to its end and reports whether it has a digest. It returns false if
// the content cannot be read; the error is the context's.
func HasDigest(ctx context.Context, where extent.List, d digest.Digest) (bool, error) {
	r, err := where.Open(ctx)
	if err != nil {
		return false, ctx.Err()
	}
	defer r.Close()
	return verify(ctx, r, d)
}

// FileHasDigest is like [HasDigest], for a file.
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
	// Hide the reader's WriteTo: all bytes have to pass through the verifier.
	if _, err := io.CopyBuffer(v, struct{ io.Reader }{contextReader{ctx, r}}, make([]byte, 1<<18)); err != nil {
		return false, ctx.Err()
	}
	return v.Verified(), nil
}

// WithContext returns a reader that fails once the context has ended.
func WithContext(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context // of the one copy that this reader is for
	r   io.Reader
}

// Read implements io.Reader.
func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
