package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// NewProvingReader returns a reader that verifies the content of r. At the end of r, Read returns a
// *DigestError if the content does not have the digest d. The parameter from is the source that the
// error mentions.
func NewProvingReader(r io.ReadCloser, d digest.Digest, from string) io.ReadCloser {
	return &provingReader{in: r, sum: d.Algorithm().Digester(), wrong: DigestError{Want: d, From: from}}
}

type provingReader struct {
	in    io.ReadCloser
	sum   digest.Digester
	wrong DigestError // Read returns this error if the content does not have the digest
}

// Read implements io.Reader.
func (p *provingReader) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	_, _ = p.sum.Hash().Write(b[:n]) // the Write method of a hash never returns an error
	p.wrong.Size += int64(n)
	if errors.Is(err, io.EOF) {
		if p.wrong.Got = p.sum.Digest(); p.wrong.Got != p.wrong.Want {
			return n, &p.wrong
		}
	}
	return n, err
}

// Close implements io.Closer.
func (p *provingReader) Close() error { return p.in.Close() }

// DigestError reports that content does not have the expected digest.
type DigestError struct {
	Want, Got digest.Digest
	Size      int64 // bytes received

	From string // source of the content: HOST/PATH, or a file
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("checksum mismatch: %s of %s: received %d bytes with the digest %s", e.Want, e.From, e.Size, e.Got)
}

// IsDigestError reports whether err is a *DigestError.
func IsDigestError(err error) bool { return errors.As(err, new(*DigestError)) }

// HasDigest reads content to its end and reports whether it has the digest d. It returns false if
// the content cannot be read. Its only error is the context's.
func HasDigest(ctx context.Context, where extent.List, d digest.Digest) (bool, error) {
	r, err := where.Open(ctx)
	if err != nil {
		return false, ctx.Err()
	}
	defer r.Close()
	return verify(ctx, r, d)
}

// FileHasDigest is like [HasDigest], but reads a file.
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
	if _, err := io.CopyBuffer(v, contextReader{ctx, r}, make([]byte, 1<<18)); err != nil {
		return false, ctx.Err()
	}
	return v.Verified(), nil
}

// WithContext returns a reader that reads from r until the context ends. After that, Read returns
// the context's error.
func WithContext(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context // Read fails after this context has ended
	r   io.Reader
}

// Read implements io.Reader.
func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
