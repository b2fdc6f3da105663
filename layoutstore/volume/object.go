package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// object is an object in a bucket, in the state in which the bucket listed it. If it has changed
// since, reading it fails.
type object struct {
	reader bucket.Reader
	bucket.Object
	stale func() // called if the object is missing or has changed when it is read; may be nil
}

// ObjectExtent returns the extent of a complete object, in the state in which the bucket listed it.
// If the object has changed since, reading it fails with [extent.ErrStale].
func ObjectExtent(r bucket.Reader, o bucket.Object) extent.List {
	return StoredExtent(r, o, nil)
}

// StoredExtent is like ObjectExtent. If the object is missing or has changed, reading it also calls stale,
// unless stale is nil. Several goroutines may call stale at once.
func StoredExtent(r bucket.Reader, o bucket.Object, stale func()) extent.List {
	return extent.List{{File: &object{r, o, stale}, Len: o.Size, Whole: true}}
}

// ObjectOf returns the object of a list that consists of one complete object, and the reader of its
// bucket. ok is false for any other list.
func ObjectOf(where extent.List) (r bucket.Reader, o bucket.Object, ok bool) {
	if len(where) != 1 || !where[0].Whole {
		return nil, o, false
	}
	f, ok := where[0].File.(*object)
	if !ok {
		return nil, o, false
	}
	return f.reader, f.Object, true
}

func isObject(f extent.File) bool { _, ok := f.(*object); return ok }

// errObject is the error of opening an object as a file.
var errObject = fmt.Errorf("an object in a bucket is not a file: %w", errors.ErrUnsupported)

func (o *object) Open(ctx context.Context) (*os.File, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, fmt.Errorf("%s: %w", o, errObject)
}

// OpenRange implements extent.Ranged. If the bucket lists no ETags, the object must have the size and the
// modification time from the list. For a blob of a store, o has only the key and the size. An import replaces
// such a blob only if it is damaged, so only its size is compared.
func (o *object) OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	body, now, err := o.reader.Get(ctx, o.Key, off, n, o.ETag)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, bucket.ErrChanged), errors.Is(err, fs.ErrNotExist):
		o.noteStale()
		return nil, fmt.Errorf("%w: %w", extent.ErrStale, err)
	case err != nil:
		return nil, err
	}
	if now.Size != o.Size || o.ETag == "" && !o.LastModified.IsZero() && !now.LastModified.Truncate(time.Second).Equal(o.LastModified.Truncate(time.Second)) {
		body.Close()
		o.noteStale()
		return nil, fmt.Errorf("%s: %w", o, extent.ErrStale)
	}
	return body, nil
}

func (o *object) noteStale() {
	if o.stale != nil {
		o.stale()
	}
}

func (o *object) String() string { return JoinPath(o.reader.Place(), o.Key) }

// stamp returns a text that identifies the content of the object. For a blob of a store, o has only the key and
// the size, which stay the same when an import overwrites a damaged blob. So stamp asks the bucket for the state.
func (o *object) stamp(ctx context.Context) (string, error) {
	if o.ETag != "" || !o.LastModified.IsZero() {
		return stampOfObject(o.Object), nil
	}
	now, err := o.reader.Stat(ctx, o.Key)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", err
	}
	return fmt.Sprintf("%d %s %d", now.Size, now.ETag, now.LastModified.Unix()), nil
}

// stampOfObject returns a text that identifies the content of an object in a list.
func stampOfObject(o bucket.Object) string {
	if o.ETag == "" {
		return fmt.Sprintf("%d %d", o.Size, o.LastModified.Unix())
	}
	return fmt.Sprintf("%d %s", o.Size, o.ETag)
}
