package pull

import (
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
)

// proving is a reader that ends with an error if its content does not have the digest.
type proving struct {
	in   io.ReadCloser
	sum  digest.Digester
	want digest.Digest
	from string // where the bytes come from
	size int64  // that were read
}

func newProving(r io.ReadCloser, d digest.Digest, from string) *proving {
	return &proving{in: r, sum: d.Algorithm().Digester(), want: d, from: from}
}

// Read implements io.Reader.
func (p *proving) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	_, _ = p.sum.Hash().Write(b[:n]) // a hash takes everything
	p.size += int64(n)
	if err == io.EOF {
		if got := p.sum.Digest(); got != p.want {
			return n, &wrongContent{p.want, got, p.size, p.from}
		}
	}
	return n, err
}

// Close implements io.Closer.
func (p *proving) Close() error { return p.in.Close() }

// wrongContent says that content does not have its digest.
type wrongContent struct {
	want, got digest.Digest
	size      int64  // of what came, in bytes
	from      string // HOST/PATH, or a file
}

func (w *wrongContent) Error() string {
	return fmt.Sprintf("checksum mismatch: %s of %s: received %d bytes with the digest %s", w.want, w.from, w.size, w.got)
}

func isWrongContent(err error) bool {
	var w *wrongContent
	return errors.As(err, &w)
}
