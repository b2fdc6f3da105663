package bucket

import (
	"context"
	"io"
	"time"
)

// Object describes an object in a bucket. Size is in bytes. The ETag has no quotes.
type Object struct {
	Key          string
	Size         int64
	ETag         string
	LastModified time.Time
}

// Reader reads the objects in a place: a whole bucket, or the part of it below a prefix.
type Reader interface {
	// List passes every object whose key begins with prefix to the function each, in byte order of
	// the keys. It sends one request per 1,000 objects. If the function fails, List stops and
	// returns that error unchanged.
	List(ctx context.Context, prefix string, each func(Object) error) error

	// Get opens n bytes of an object, starting at byte off. If n is negative, Get opens everything
	// from off. It fails with [ErrChanged] if ifMatch is set and differs from the object's ETag, or
	// if the object is too short. The returned reader returns exactly the requested bytes, or fails
	// with [ErrUnreachable]. The returned Object describes the whole object.
	Get(ctx context.Context, key string, off, n int64, ifMatch string) (io.ReadCloser, Object, error)

	// Stat returns the attributes of an object without reading its content.
	Stat(ctx context.Context, key string) (Object, error)

	// Place returns the place as s3://bucket/prefix.
	Place() string
}

// Bucket reads and writes the objects in a place.
type Bucket interface {
	Reader

	// Put writes an object of exactly size bytes. The object becomes visible only when it is
	// complete. If body ends early or fails, Put writes no object and returns the error from body.
	// If a condition in options is not met, Put fails with [ErrChanged].
	Put(ctx context.Context, key string, body io.Reader, size int64, options PutOptions) (Object, error)

	// Delete deletes an object. If the object does not exist, Delete does nothing.
	Delete(ctx context.Context, key string) error

	// Uploads passes every unfinished upload whose key begins with prefix to the function each.
	Uploads(ctx context.Context, prefix string, each func(Upload) error) error

	// Abort ends an unfinished upload, and deletes its parts. If the upload does not exist, Abort
	// does nothing.
	Abort(ctx context.Context, upload Upload) error

	// PresignGet returns a URL that lets anyone read the object until the URL expires. It sends no request.
	PresignGet(ctx context.Context, key string, expires time.Duration) (string, error)
}

// PutOptions contains the attributes of an object that Put writes, and the conditions for writing it.
type PutOptions struct {
	// IfAbsent makes Put fail if the object exists.
	IfAbsent bool
	// IfMatch makes Put fail if the object is missing or has a different ETag. Empty means no condition.
	IfMatch string
	// SHA256 is the SHA-256 of the body in hexadecimal digits, which the store verifies. Empty means unknown.
	SHA256 string
	// ContentType is the media type of the object. Empty means application/octet-stream.
	ContentType string
}

// Upload is an unfinished multipart upload.
type Upload struct {
	Key   string
	ID    string
	Begun time.Time
}
