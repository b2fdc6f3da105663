package client

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
)

// content opens and reads the blob that an upload sends.
type content struct {
	size     int64
	reader   func() (io.ReadSeekCloser, error)
	progress func(int64) // may be nil; see Upload.Progress
}

// open opens the bytes of the content in the half-open range [from, to).
func (c *content) open(from, to int64) (io.ReadCloser, error) {
	r, err := c.reader()
	if err != nil {
		return nil, err
	}
	if from > 0 {
		if _, err := r.Seek(from, io.SeekStart); err != nil {
			r.Close()
			return nil, err
		}
	}
	return &part{r: r, pos: from, end: to, progress: c.progress}, nil
}

// part reads a range of a blob. If the blob ends before the range does, Read returns
// io.ErrUnexpectedEOF.
type part struct {
	r        io.ReadSeekCloser
	pos, end int64
	progress func(int64)
}

func (p *part) Read(b []byte) (int, error) {
	if p.pos == p.end {
		return 0, io.EOF
	}
	n, err := p.r.Read(b[:min(int64(len(b)), p.end-p.pos)])
	p.pos += int64(n)
	if p.progress != nil && n > 0 {
		p.progress(p.pos)
	}
	if errors.Is(err, io.EOF) && p.pos < p.end {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (p *part) Close() error { return p.r.Close() }

// digest computes the digest of the content. The error is a *LocalError or the context's.
func (c *content) digest(ctx context.Context, alg digest.Algorithm) (digest.Digest, error) {
	r, err := c.open(0, c.size)
	if err != nil {
		return "", &LocalError{err}
	}
	defer r.Close()
	h := alg.Digester()
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := r.Read(buf)
		h.Hash().Write(buf[:n])
		if err == io.EOF {
			return h.Digest(), nil
		}
		if err != nil {
			return "", &LocalError{err}
		}
	}
}
