package bucket

import (
	"context"
	"io"
	"time"
)

// Object is an object as a store describes it. Size is in bytes; the ETag is without quotes.
type Object struct {
	Key          string
	Size         int64
	ETag         string
	LastModified time.Time
}

// Reader reads objects of a place in a bucket.
type Reader interface {
	// List calls each for every object whose key begins with prefix, in byte order of the keys. It sends a request for
	// each 1,000 objects. If each fails, List ends and returns its error unchanged.
	List(ctx context.Context, prefix string, each func(Object) error) error

	// Get opens n bytes of an object from byte off on, or all bytes from there if n is negative. It fails with [ErrChanged]
	// if ifMatch is not empty and the object has another ETag, or if the object is too short. The reader returns exactly
	// these bytes, or an error that is [ErrUnreachable]. Object.Size is the size of the whole object.
	Get(ctx context.Context, key string, off, n int64, ifMatch string) (io.ReadCloser, Object, error)

	// Stat returns the attributes of an object.
	Stat(ctx context.Context, key string) (Object, error)

	// Place returns the place as s3://bucket/prefix.
	Place() string
}

// Bucket reads and writes objects of a place in a bucket.
type Bucket interface {
	Reader

	// Put writes an object of exactly size bytes. The object is visible only once it is complete: if body ends early or fails,
	// Put writes no object and returns the error of body. It fails with [ErrChanged] if a condition of options does not hold.
	Put(ctx context.Context, key string, body io.Reader, size int64, options PutOptions) (Object, error)

	// Delete deletes an object. If the object does not exist, Delete does nothing.
	Delete(ctx context.Context, key string) error

	// Uploads calls each for every upload below prefix that has begun and is neither complete nor aborted.
	Uploads(ctx context.Context, prefix string, each func(Upload) error) error

	// Abort ends an upload, and removes its parts. If the upload does not exist, Abort does nothing.
	Abort(ctx context.Context, upload Upload) error

	// PresignGet returns a URL from which the object can be read without other credentials, until it expires. It sends no
	// request.
	PresignGet(ctx context.Context, key string, expires time.Duration) (string, error)
}

// PutOptions are the conditions under which an object is written, and its attributes.
type PutOptions struct {
	// IfAbsent is the condition that the object does not exist.
	IfAbsent bool
	// IfMatch is the condition that the object has this ETag; empty for no condition.
	IfMatch string
	// SHA256 is the checksum of the body in hexadecimal digits; the store verifies it. Empty if unknown.
	SHA256 string
	// ContentType is application/octet-stream if it is empty.
	ContentType string
}

// Upload is an upload in parts that is neither complete nor aborted.
type Upload struct {
	Key   string
	ID    string
	Begun time.Time
}
