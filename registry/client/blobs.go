package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// HeadBlob returns the size of a blob. It returns UnknownSize if the registry has the blob but
// does not report its size. If the blob is missing, the *Error wraps ErrNotFound.
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

// UnknownSize is what HeadBlob returns if the registry does not report the size of a blob.
const UnknownSize = -1

// BlobReader reads a blob from a registry. When the connection is cut, it requests the rest of
// the blob. It checks the size, but the caller has to check the digest. Until it is closed, it
// occupies a slot of the client's limiter.
type BlobReader struct {
	ctx  context.Context // context for all requests of the reader; http.Request also stores its context in a field
	c    *Client
	call *call
	size int64
	pos  int64
	// resp is nil if the rest of the blob has yet to be requested.
	resp *http.Response
	// failed counts the failures since Read last returned bytes.
	failed failures

	// mismatches is the number of answers with a wrong size or range.
	mismatches int
	// tooLong is set once an answer had more bytes than the blob.
	tooLong bool
}

// Blob opens a blob of size bytes and reads from byte offset on. Blob and Read return an *Error or
// the context's error. The *Error wraps ErrNotFound if the blob is missing, and ErrMismatch if the
// registry repeatedly answers with a wrong size or range.
func (c *Client) Blob(ctx context.Context, repository string, d digest.Digest, size, offset int64) (*BlobReader, error) {
	return c.openBlob(ctx, repository, d, size, offset, false)
}

// FreshBlob is like [Client.Blob], but its requests bypass caches. Use it after wrong content.
func (c *Client) FreshBlob(ctx context.Context, repository string, d digest.Digest, size, offset int64) (*BlobReader, error) {
	return c.openBlob(ctx, repository, d, size, offset, true)
}

func (c *Client) openBlob(ctx context.Context, repository string, d digest.Digest, size, offset int64, fresh bool) (*BlobReader, error) {
	k, err := c.call(ctx, "get blob", http.MethodGet, repository, "blobs", d.String())
	if err != nil {
		return nil, err
	}
	if fresh {
		k.header = pastCaches(k.header)
	}
	b := &BlobReader{ctx: ctx, c: c, call: k, size: size, pos: offset}
	if offset < 0 || offset > size {
		return nil, k.fail(SideLocal, ErrMismatch, fmt.Errorf("offset %d is outside of a blob of %d bytes", offset, size))
	}
	if offset == size && size > 0 {
		return b, nil // nothing remains to be read
	}
	return b, b.open()
}

// open requests the rest of the blob.
func (b *BlobReader) open() error {
	for {
		resp, err := b.ask()
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

// ask requests the rest of the blob. After mismatchRetries wrong answers, or one that was too long,
// it requests the complete blob.
func (b *BlobReader) ask() (*http.Response, error) {
	for {
		k := *b.call
		k.header = b.call.header.Clone()
		k.want = []int{http.StatusOK}
		if b.pos > 0 {
			k.want = append(k.want, http.StatusPartialContent)
		}
		if b.pos > 0 && b.mismatches < mismatchRetries && !b.tooLong {
			k.header.Set("Range", fmt.Sprintf("bytes=%d-", b.pos))
		}
		resp, err := b.c.do(b.ctx, &k)
		var e *Error
		if !errors.As(err, &e) || e.Status != http.StatusRequestedRangeNotSatisfiable || b.pos == 0 {
			return resp, err
		}
		// The requested range is within the size in the manifest, so the registry should accept it.
		if err := b.again(b.mismatch(fmt.Errorf("the registry refuses the range %q", k.header.Get("Range")))); err != nil {
			return nil, err
		}
	}
}

// accept checks that an answer starts at pos. If the answer is the complete blob, accept skips
// the bytes before pos.
func (b *BlobReader) accept(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		var first, last, size int64
		n, _ := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size)
		if n < 2 || first != b.pos || last >= b.size || n == 3 && size != b.size {
			return b.mismatch(fmt.Errorf("the answer has the range %q, expected one that starts at byte %d of %d", problem.Excerpt(resp.Header.Get("Content-Range"), 60), b.pos, b.size))
		}
		if resp.ContentLength >= 0 && resp.ContentLength != last-first+1 {
			return b.mismatch(fmt.Errorf("the answer has the range %q, but %d bytes", problem.Excerpt(resp.Header.Get("Content-Range"), 60), resp.ContentLength))
		}
		return nil
	}
	if resp.ContentLength >= 0 && resp.ContentLength != b.size {
		return b.mismatch(fmt.Errorf("the answer has %d bytes, expected %d", resp.ContentLength, b.size))
	}
	if b.pos == 0 {
		return nil
	}
	// The registry ignored the Range header, so skip the bytes that were already read.
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
			if b.pos == b.size && !b.tooLong {
				return 0, io.EOF
			}
			if err := b.open(); err != nil {
				return 0, err
			}
		}
		n, err := b.resp.Body.Read(p)
		if int64(n) > b.size-b.pos {
			if err := b.retryTooLong(); err != nil {
				return 0, err
			}
			continue
		}
		b.pos += int64(n)
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

// retryTooLong closes an answer that is longer than the blob, and waits before the next try. It keeps
// the bytes read so far, because they may be right: only their digest can show that.
func (b *BlobReader) retryTooLong() error {
	b.Close()
	b.tooLong = true
	return b.again(b.mismatch(fmt.Errorf("the answer has more than the expected %d bytes", b.size)))
}

// again waits before the next try. After too many tries, it returns an error instead. After a wrong
// answer, the next tries bypass caches.
func (b *BlobReader) again(err error) error {
	if isMismatch(err) {
		if b.mismatches == mismatchRetries {
			return persistent(err)
		}
		b.call.header = pastCaches(b.call.header)
		b.mismatches++
		return b.c.reportAndWait(b.ctx, err, b.c.backoff(b.mismatches-1))
	}
	return b.c.pause(b.ctx, &b.failed, err, false)
}

// Close releases the connection without reading the rest of the blob.
func (b *BlobReader) Close() error {
	if b.resp == nil {
		return nil
	}
	resp := b.resp
	b.resp = nil
	return resp.Body.Close()
}
