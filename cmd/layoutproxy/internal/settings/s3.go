package settings

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/s3"
)

// S3 configures how to reach the object store. It applies to all sources and stores whose names
// begin with s3://.
type S3 struct {
	Endpoint  string
	Region    string
	PathStyle bool
	CAFile    string
	// WriteIndex is whether to write the index of each archive beside the archive.
	WriteIndex bool
	// Redirect is whether to redirect clients to the object store. This applies to blobs that are
	// objects of the bucket. The presigned URLs begin with PublicEndpoint.
	Redirect       bool
	PublicEndpoint string
}

// AddFlags adds the flags that all commands with sources or a store have.
func (o *S3) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Endpoint, "s3-endpoint", "", "`URL` of the object store for names that begin with s3://, such as https://s3.example.com; empty means Amazon S3")
	f.StringVar(&o.Region, "s3-region", "", "`region` of the bucket; empty means $AWS_REGION, $AWS_DEFAULT_REGION or us-east-1")
	f.BoolVar(&o.PathStyle, "s3-path-style", false, "put the bucket in the path of URLs, not in the host name, even at Amazon and other large clouds")
	f.StringVar(&o.CAFile, "s3-ca-file", "", "PEM `file` with certificates to trust for the object store, in addition to those of the system")
}

// client returns a client with credentials from the environment or the credentials file. Errors are
// [exit.UsageError], unless a file cannot be read.
func (o *S3) client() (*s3.Client, error) {
	client, err := s3.NewClient(s3.Options{Endpoint: o.Endpoint, Region: o.Region, PathStyle: o.PathStyle, CAFile: o.CAFile, PublicEndpoint: o.PublicEndpoint})
	var file *os.PathError
	if err != nil && !errors.As(err, &file) {
		return nil, exit.UsageError(err)
	}
	return client, err
}

// Check returns an error if one of the names is a malformed place in a bucket, or if no client can be created for
// such a place. It sends no request.
func (o *S3) Check(names []string) error {
	for _, name := range names {
		if !bucket.IsPlace(name) {
			continue
		}
		if _, err := ParsePlace(name); err != nil {
			return err
		}
		if _, err := o.client(); err != nil {
			return err
		}
	}
	return nil
}

// Buckets returns a function that opens places in buckets. That function creates the client when it is first
// called. If no client can be created, all requests to the buckets fail with the same error.
func (o *S3) Buckets() func(bucket.Place) bucket.Reader {
	open := o.Writers()
	return func(at bucket.Place) bucket.Reader { return open(at) }
}

// Writers is like Buckets, but its buckets can also be written to.
func (o *S3) Writers() func(bucket.Place) bucket.Bucket {
	client := sync.OnceValues(o.client)
	return func(at bucket.Place) bucket.Bucket {
		c, err := client()
		if err != nil {
			return noClient{at, clientError(err)}
		}
		return c.Open(at)
	}
}

// clientError returns the error of requests to a bucket whose client could not be created. It is a
// [bucket.ErrUnreachable], so that no command takes the source for an empty one. If a file is missing, the error is
// no fs.ErrNotExist, which would mean that an object is missing.
func clientError(err error) error {
	if errors.As(err, new(*os.PathError)) {
		return fmt.Errorf("%w: %s", bucket.ErrUnreachable, err.Error())
	}
	return fmt.Errorf("%w: %w", bucket.ErrUnreachable, err)
}

// noClient stands in for a bucket whose client could not be created. Every request to it fails with err.
type noClient struct {
	at  bucket.Place
	err error
}

func (n noClient) List(context.Context, string, func(bucket.Object) error) error { return n.err }

func (n noClient) Get(context.Context, string, int64, int64, string) (io.ReadCloser, bucket.Object, error) {
	return nil, bucket.Object{}, n.err
}

func (n noClient) Stat(context.Context, string) (bucket.Object, error) { return bucket.Object{}, n.err }

func (n noClient) Place() string { return n.at.String() }

func (n noClient) Put(context.Context, string, io.Reader, int64, bucket.PutOptions) (bucket.Object, error) {
	return bucket.Object{}, n.err
}

func (n noClient) Delete(context.Context, string) error { return n.err }

func (n noClient) Uploads(context.Context, string, func(bucket.Upload) error) error { return n.err }

func (n noClient) Abort(context.Context, bucket.Upload) error { return n.err }

func (n noClient) PresignGet(context.Context, string, time.Duration) (string, error) {
	return "", n.err
}

// ParsePlace parses s3://bucket/prefix. Errors are [exit.UsageError].
func ParsePlace(name string) (bucket.Place, error) {
	at, err := bucket.ParsePlace(name)
	if err != nil {
		return at, exit.UsageError(exit.WithHint(err, "write a name such as s3://bucket/prefix"))
	}
	return at, nil
}
