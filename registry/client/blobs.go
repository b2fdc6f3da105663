package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
)

func tooLong(limit int64) error {
	return fmt.Errorf("%w than %d bytes", errTooLong, limit)
}

var errTooLong = errors.New("the answer is longer")

// HeadBlob is the size of a blob in a repository, and UnknownSize where the registry has
// the blob and does not say it. Errors: *Error, with ErrNotFound where it is not there.
func (c *Client) HeadBlob(ctx context.Context, repository string, d digest.Digest) (int64, error) {
	k, err := c.call(ctx, "head blob", http.MethodHead, repository, "blobs", d.String())
	if err != nil {
		return 0, err
	}
	k.want = []int{http.StatusOK}
	resp, err := c.do(ctx, k)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return max(resp.ContentLength, UnknownSize), nil
}

// UnknownSize is the size of a blob of which only its presence is known.
const UnknownSize = -1

// BlobReader reads a blob of a registry to its end, however often the connection is
// cut: it asks for the rest. It checks the size and not the digest, which is for who
// writes the bytes down. It holds a turn of the client's limiter until it is closed.
type BlobReader struct {
	ctx    context.Context // of the request it stands for, as http.Request has one
	c      *Client
	call   *call
	size   int64
	pos    int64
	resp   *http.Response // nil where the rest is to be asked for
	failed failures       // since something was read
}

// Blob opens a blob of size bytes from byte offset on. Errors: *Error, with ErrNotFound
// where it is not there; with ErrMismatch, also while reading, where it has another
// size. While reading, the context's as well.
func (c *Client) Blob(ctx context.Context, repository string, d digest.Digest, size, offset int64) (*BlobReader, error) {
	k, err := c.call(ctx, "get blob", http.MethodGet, repository, "blobs", d.String())
	if err != nil {
		return nil, err
	}
	b := &BlobReader{ctx: ctx, c: c, call: k, size: size, pos: offset}
	if offset < 0 || offset > size {
		return nil, k.fail(SideLocal, ErrMismatch, fmt.Errorf("byte %d of %d", offset, size))
	}
	if offset == size && size > 0 {
		return b, nil // nothing is left to be asked for
	}
	return b, b.open()
}

// open asks for the rest.
func (b *BlobReader) open() error {
	k := *b.call
	k.header = http.Header{}
	k.want = []int{http.StatusOK}
	if b.pos > 0 {
		k.header.Set("Range", fmt.Sprintf("bytes=%d-", b.pos))
		k.want = []int{http.StatusOK, http.StatusPartialContent}
	}
	for {
		resp, err := b.c.do(b.ctx, &k)
		if err != nil {
			return err
		}
		if err = b.accept(resp); err == nil {
			b.resp = resp
			return nil
		}
		resp.Body.Close()
		if err := b.again(err); err != nil {
			return err
		}
	}
}

// accept checks that an answer is the rest, or makes it so.
func (b *BlobReader) accept(resp *http.Response) error {
	whole := resp.StatusCode == http.StatusOK
	if !whole {
		var first, last, size int64
		n, _ := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size)
		if n < 2 || first != b.pos || n == 3 && size != b.size {
			return b.mismatch(fmt.Errorf("it answers the range %q", oneLine(resp.Header.Get("Content-Range"), 60)))
		}
		return nil
	}
	if resp.ContentLength >= 0 && resp.ContentLength != b.size {
		return b.mismatch(fmt.Errorf("it has %d bytes, %d are expected", resp.ContentLength, b.size))
	}
	if b.pos == 0 {
		return nil
	}
	// A registry without ranges: what we have passes once more.
	if _, err := io.CopyN(io.Discard, resp.Body, b.pos); err != nil {
		return b.c.cut(b.call, resp, err)
	}
	return nil
}

func (b *BlobReader) mismatch(err error) error { return b.call.fail(SideRegistry, ErrMismatch, err) }

// Read implements io.Reader.
func (b *BlobReader) Read(p []byte) (int, error) {
	for {
		if b.resp == nil {
			if b.pos == b.size {
				return 0, io.EOF
			}
			if err := b.open(); err != nil {
				return 0, err
			}
		}
		n, err := b.resp.Body.Read(p)
		b.pos += int64(n)
		if b.pos > b.size {
			return 0, b.mismatch(fmt.Errorf("more than the %d bytes that are expected", b.size))
		}
		if n > 0 {
			b.failed = failures{}
			return n, nil
		}
		if err == nil {
			continue
		}
		if err == io.EOF && b.pos == b.size {
			return 0, io.EOF
		}
		resp := b.resp
		b.Close()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err := b.again(b.c.cut(b.call, resp, err)); err != nil {
			return 0, err
		}
	}
}

// again waits for another try after err.
func (b *BlobReader) again(err error) error {
	return b.c.pause(b.ctx, &b.failed, err, false)
}

// Close gives the connection back. The rest of the blob is not read.
func (b *BlobReader) Close() error {
	if b.resp == nil {
		return nil
	}
	resp := b.resp
	b.resp = nil
	return resp.Body.Close()
}
