package volume_test

import (
	"context"
	"io"
	"io/fs"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// listed is a bucket that only supports List.
type listed []bucket.Object

func (l listed) List(_ context.Context, _ string, each func(bucket.Object) error) error {
	for _, o := range l {
		if err := each(o); err != nil {
			return err
		}
	}
	return nil
}

func (listed) Get(context.Context, string, int64, int64, string) (io.ReadCloser, bucket.Object, error) {
	return nil, bucket.Object{}, fs.ErrNotExist
}

func (listed) Stat(context.Context, string) (bucket.Object, error) {
	return bucket.Object{}, fs.ErrNotExist
}

func (listed) Place() string { return "s3://listed" }
