package s3

import (
	"bytes"
	"cmp"
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

// Put implements bucket.Bucket. It writes an object of up to 64 MiB with one request, and a larger object
// in parts. If an earlier upload was not finished, Put reuses the parts that have the same content.
func (p *place) Put(ctx context.Context, key string, body io.Reader, size int64, options bucket.PutOptions) (bucket.Object, error) {
	put := p.putOnce
	if size > p.threshold {
		put = p.putParts
	}
	o, err := put(ctx, key, body, size, options)
	return o, p.putError(ctx, key, options, err)
}

// putError returns an error of the body unchanged, and wraps all others. If IfMatch is set, a
// missing object means that the condition does not hold. Stores then answer 404
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
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
	options := minio.PutObjectOptions{ContentType: cmp.Or(o.ContentType, "application/octet-stream"), DisableContentSha256: true}
	if o.IfAbsent {
		options.SetMatchETagExcept("*")
	}
	if o.IfMatch != "" {
		options.SetMatchETag(trimETag(o.IfMatch))
	}
	return options
}

// putOnce writes an object with one request. It reads a small object into memory, so that it can
// retry the request.
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
	// If the body ended early, the transport may have returned the store's answer instead of the
	// body's error.
	if failed := reader.failed.Load(); err != nil && failed != nil {
		return bucket.Object{}, failed
	}
	return o, err
}

// sendOnce sends the request of putOnce, with retries. open returns nil if the body cannot be read
// a second time.
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
		return p.checkWritten(ctx, key, sum, err)
	}
	return bucket.Object{Key: key, Size: size, ETag: trimETag(info.ETag)}, err
}

// exactReader reads exactly size bytes of a body, and fails if the body is shorter. Its errors are
// *bodyError.
type exactReader struct {
	body   io.Reader
	left   int64
	size   int64
	failed atomic.Pointer[bodyError]
}

func (r *exactReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.body.Read(p[:min(int64(len(p)), r.left)])
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

func (p *place) PresignGet(ctx context.Context, key string, expires time.Duration) (string, error) {
	u, err := p.signer.PresignedGetObject(ctx, p.at.Bucket, p.key(key), expires, url.Values{})
	if err != nil {
		return "", fmt.Errorf("%s: %w", p.where(key), err)
	}
	return u.String(), nil
}
