package bucket

import (
	"context"
	"io"
	"time"
)

// Object is what a store says of an object. In a list and in an answer the ETag is without quotes.
type Object struct {
	Key          string
	Size         int64
	ETag         string
	LastModified time.Time
}

// Reader reads objects of a place in a bucket.
type Reader interface {
	// List calls each for every object whose key begins with prefix, in byte order of the keys. It requests
	// pages of 1,000. An error of each ends the list and is returned as it is.
	List(ctx context.Context, prefix string, each func(Object) error) error

	// Get opens n bytes of an object from off on; all that follow if n is negative. With an ETag as ifMatch it fails with
	// [ErrChanged] if the object has another one, or is too short. The reader yields exactly the bytes asked for or an error
	// that is [ErrUnreachable]. Object.Size is the size of the whole object.
	Get(ctx context.Context, key string, off, n int64, ifMatch string) (io.ReadCloser, Object, error)

	// Stat returns what the store says of an object.
	Stat(ctx context.Context, key string) (Object, error)

	// Place returns the place as s3://bucket/prefix.
	Place() string
}

// Bucket reads and writes objects of a place in a bucket.
type Bucket interface {
	Reader

	// Put writes an object of exactly size bytes. No part of it is visible before all is there: if body ends early or fails, the
	// object is not written, and the error of body is returned. It fails with [ErrChanged] if the condition does not hold.
	Put(ctx context.Context, key string, body io.Reader, size int64, options PutOptions) (Object, error)

	// Delete deletes an object. It is no error if that does not exist.
	Delete(ctx context.Context, key string) error

	// Uploads calls each for every upload below prefix that has begun and is neither complete nor aborted.
	Uploads(ctx context.Context, prefix string, each func(Upload) error) error

	// Abort ends an upload, and removes its parts. It is no error if that does not exist.
	Abort(ctx context.Context, upload Upload) error

	// PresignGet returns a URL that reads an object for some time without other credentials. It sends no request.
	PresignGet(ctx context.Context, key string, expires time.Duration) (string, error)
}

// PutOptions say under which condition an object is written, and what is known of it.
type PutOptions struct {
	// IfAbsent is the condition that the object does not exist.
	IfAbsent bool
	// IfMatch is the condition that the object has this ETag, if it is not empty.
	IfMatch string
	// SHA256 is the checksum of the body in hexadecimal digits where it is known, for the store to check.
	SHA256 string
	// ContentType is application/octet-stream if it is empty.
	ContentType string
}

// Upload is an upload in parts that has begun.
type Upload struct {
	Key   string
	ID    string
	Begun time.Time
}
