package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// Put writes an object: one of up to 64 MiB with one request, a larger one in parts of 16 MiB. Parts of an earlier upload that
// came to no end are not sent again where the store has the same bytes of them.
func (p *place) Put(ctx context.Context, key string, body io.Reader, size int64, options bucket.PutOptions) (bucket.Object, error) {
	if size > p.threshold {
		o, err := p.putParts(ctx, key, body, size, options)
		return o, p.putError(ctx, key, options, err)
	}
	o, err := p.putOnce(ctx, key, body, size, options)
	return o, p.putError(ctx, key, options, err)
}

// putError returns the error of the body as it is. Where the condition is a certain object, stores answer 404 if there is
// none (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
func (p *place) putError(ctx context.Context, key string, options bucket.PutOptions, err error) error {
	var failed *bodyError
	if errors.As(err, &failed) {
		return failed.err
	}
	err = wrap(ctx, p.where(key), err)
	var answered *bucket.Error
	if options.IfMatch != "" && errors.As(err, &answered) && errors.Is(answered.Kind, fs.ErrNotExist) {
		answered.Kind = bucket.ErrChanged
	}
	return err
}

func putOptions(o bucket.PutOptions) minio.PutObjectOptions {
	options := minio.PutObjectOptions{ContentType: orText(o.ContentType, "application/octet-stream"), DisableContentSha256: true}
	if o.IfAbsent {
		options.SetMatchETagExcept("*")
	}
	if o.IfMatch != "" {
		options.SetMatchETag(trimETag(o.IfMatch))
	}
	return options
}

// putOnce writes an object with one request. A small one is in memory, so that it can be sent again.
func (p *place) putOnce(ctx context.Context, key string, body io.Reader, size int64, options bucket.PutOptions) (bucket.Object, error) {
	reader := &exactReader{body: body, left: size, size: size}
	sum := options.SHA256
	if size <= p.partSize {
		data, err := io.ReadAll(reader)
		if err != nil {
			return bucket.Object{}, err
		}
		if sum == "" {
			digest := sha256.Sum256(data)
			sum = hex.EncodeToString(digest[:])
		}
		return p.sendOnce(ctx, key, func() io.Reader { return bytes.NewReader(data) }, size, sum, options)
	}
	sent := false
	o, err := p.sendOnce(ctx, key, func() io.Reader {
		if sent {
			return nil
		}
		sent = true
		return reader
	}, size, sum, options)
	if failed := reader.failed.Load(); err != nil && failed != nil { // the transport may return what the store says of a body that ends early
		return bucket.Object{}, failed
	}
	return o, err
}

// sendOnce sends the request of putOnce; open returns no body where it cannot be sent again.
func (p *place) sendOnce(ctx context.Context, key string, open func() io.Reader, size int64, sum string, options bucket.PutOptions) (bucket.Object, error) {
	put := putOptions(options)
	if raw, err := hex.DecodeString(sum); err == nil && len(raw) == sha256.Size {
		put.UserMetadata = map[string]string{"x-amz-checksum-sha256": base64.StdEncoding.EncodeToString(raw)}
	}
	var info minio.UploadInfo
	var last error
	err := p.retry(ctx, func() (err error) {
		body := open()
		if body == nil {
			return fmt.Errorf("%w: %w", errFinal, last)
		}
		info, err = p.core.PutObject(ctx, p.at.Bucket, p.key(key), body, size, "", sum, put)
		last = err
		return err
	})
	if err != nil && (options.IfAbsent || options.IfMatch != "") {
		return p.settle(ctx, key, sum, err)
	}
	return bucket.Object{Key: key, Size: size, ETag: trimETag(info.ETag)}, err
}

// exactReader reads size bytes, and fails if there are fewer. Its errors are those of a body.
type exactReader struct {
	body   io.Reader
	left   int64
	size   int64
	failed atomic.Pointer[bodyError]
}

// Read reads on.
func (r *exactReader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if int64(len(b)) > r.left {
		b = b[:r.left]
	}
	n, err := r.body.Read(b)
	r.left -= int64(n)
	switch {
	case err == nil, r.left == 0 && errors.Is(err, io.EOF):
		return n, nil
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("the body ends after %d of %d bytes: %w", r.size-r.left, r.size, io.ErrUnexpectedEOF)
	}
	failed := &bodyError{err}
	r.failed.Store(failed)
	return n, failed
}

// Delete deletes an object.
func (p *place) Delete(ctx context.Context, key string) error {
	err := p.retry(ctx, func() error {
		return p.core.RemoveObject(ctx, p.at.Bucket, p.key(key), minio.RemoveObjectOptions{})
	})
	if isMissing(err) {
		return nil
	}
	return wrap(ctx, p.where(key), err)
}

func isMissing(err error) bool {
	var answer minio.ErrorResponse
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound && answer.Code != "NoSuchBucket"
}

// PresignGet returns a URL that reads an object.
func (p *place) PresignGet(ctx context.Context, key string, expires time.Duration) (string, error) {
	u, err := p.signer.PresignedGetObject(ctx, p.at.Bucket, p.key(key), expires, url.Values{})
	if err != nil {
		return "", fmt.Errorf("%s: %w", p.where(key), err)
	}
	return u.String(), nil
}
