package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// place gives access to the objects below one prefix of a bucket. It implements bucket.Bucket.
type place struct {
	*Client
	at bucket.Place
}

// Open opens a place without sending a request.
func (c *Client) Open(at bucket.Place) bucket.Bucket { return &place{Client: c, at: at} }

func (p *place) Place() string { return p.at.String() }

func (p *place) key(key string) string { return p.at.Prefix + key }

func (p *place) where(key string) string { return p.at.Key(key) }

func (p *place) List(ctx context.Context, prefix string, each func(bucket.Object) error) error {
	after, stop, owner := "", error(nil), false
	list := func() error {
		for o := range p.core.ListObjectsIter(ctx, p.at.Bucket, minio.ListObjectsOptions{
			Prefix: p.key(prefix), Recursive: true, MaxKeys: 1000, StartAfter: after, FetchOwner: &owner,
		}) {
			if o.Err != nil {
				return o.Err
			}
			key, ok := strings.CutPrefix(o.Key, p.at.Prefix)
			if !ok || o.Key <= after {
				return fmt.Errorf("%w: the store lists %q out of order or outside of the place", errFinal, o.Key)
			}
			after = o.Key
			if stop = each(bucket.Object{Key: key, Size: o.Size, ETag: trimETag(o.ETag), LastModified: o.LastModified}); stop != nil {
				return nil
			}
		}
		return ctx.Err() // if ctx has ended, the iteration ends without an error
	}
	begun := after
	err := p.retry(ctx, list)
	// If pages have arrived since the first attempt, the page that failed has not had all of its attempts.
	for after != begun && ctx.Err() == nil && mayRetry(err) {
		begun = after
		err = p.retry(ctx, list)
	}
	if stop != nil {
		return stop
	}
	return wrap(ctx, p.where(prefix), err)
}

func (p *place) Stat(ctx context.Context, key string) (bucket.Object, error) {
	return p.stat(ctx, key, "")
}

func (p *place) stat(ctx context.Context, key, ifMatch string) (bucket.Object, error) {
	var info minio.ObjectInfo
	err := p.retry(ctx, func() (err error) {
		var options minio.StatObjectOptions
		if ifMatch != "" {
			options.Set("If-Match", quoteETag(ifMatch))
		}
		info, err = p.core.StatObject(ctx, p.at.Bucket, p.key(key), options)
		return err
	})
	if err != nil {
		return bucket.Object{}, wrap(ctx, p.where(key), err)
	}
	return bucket.Object{Key: key, Size: info.Size, ETag: trimETag(info.ETag), LastModified: info.LastModified}, nil
}

func (p *place) Get(ctx context.Context, key string, off, n int64, ifMatch string) (io.ReadCloser, bucket.Object, error) {
	if n == 0 {
		o, err := p.stat(ctx, key, ifMatch)
		return io.NopCloser(strings.NewReader("")), o, err
	}
	var body io.ReadCloser
	var object bucket.Object
	err := p.retry(ctx, func() (err error) {
		body, object, err = p.get(ctx, key, off, n, ifMatch)
		return err
	})
	if err != nil {
		return nil, bucket.Object{}, wrap(ctx, p.where(key), err)
	}
	want := n
	if n < 0 {
		want = object.Size - off
	}
	return &bodyReader{ctx: ctx, where: p.where(key), body: body, left: want}, object, nil
}

func (p *place) get(ctx context.Context, key string, off, n int64, ifMatch string) (io.ReadCloser, bucket.Object, error) {
	var options minio.GetObjectOptions
	if ifMatch != "" {
		options.Set("If-Match", quoteETag(ifMatch))
	}
	ranged := off > 0 || n > 0
	if ranged {
		end := ""
		if n > 0 {
			end = strconv.FormatInt(off+n-1, 10)
		}
		options.Set("Range", fmt.Sprintf("bytes=%d-%s", off, end))
	}
	body, info, header, err := p.core.GetObject(ctx, p.at.Bucket, p.key(key), options)
	if err != nil {
		return nil, bucket.Object{}, err
	}
	object := bucket.Object{Key: key, Size: info.Size, ETag: trimETag(info.ETag), LastModified: info.LastModified}
	if ranged {
		object.Size, err = checkRange(header, off, n)
	}
	if err == nil && ifMatch != "" && object.ETag != "" && object.ETag != trimETag(ifMatch) {
		err = minio.ErrorResponse{StatusCode: http.StatusPreconditionFailed, Code: "PreconditionFailed"} // the store has ignored If-Match, so Get reports the mismatch itself
	}
	if err != nil {
		_ = body.Close()
		return nil, bucket.Object{}, err
	}
	return body, object, nil
}

// checkRange checks that a response has the requested range. It returns the size of the whole
// object in bytes.
func checkRange(header http.Header, off, n int64) (int64, error) {
	var from, to, size int64
	text := header.Get("Content-Range")
	if _, err := fmt.Sscanf(text, "bytes %d-%d/%d", &from, &to, &size); err != nil {
		return 0, fmt.Errorf("the store answers with a malformed Content-Range %q", text)
	}
	if from != off || (n > 0 && to != off+n-1) || (n < 0 && to != size-1) {
		if n > 0 && from == off && to == size-1 { // the object ends before the range does
			return 0, minio.ErrorResponse{StatusCode: http.StatusRequestedRangeNotSatisfiable, Code: "InvalidRange"}
		}
		return 0, fmt.Errorf("the store answers with the range %q; the request was for %d bytes from offset %d", text, n, off)
	}
	return size, nil
}

// bodyReader returns exactly left bytes of a response body, or an error.
type bodyReader struct {
	ctx   context.Context // the context of the request
	where string
	body  io.ReadCloser
	left  int64
}

func (r *bodyReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.body.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	switch {
	case err == nil, r.left == 0 && errors.Is(err, io.EOF):
		return n, nil
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	if cause := context.Cause(r.ctx); cause != nil {
		return n, fmt.Errorf("%s: %w", r.where, cause)
	}
	return n, &bucket.Error{Where: r.where, Kind: bucket.ErrUnreachable, Cause: err}
}

func (r *bodyReader) Close() error { return r.body.Close() }

func trimETag(etag string) string { return strings.Trim(etag, `"`) }

func quoteETag(etag string) string { return `"` + trimETag(etag) + `"` }
