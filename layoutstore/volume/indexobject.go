package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// indexObject is the index beside an archive in a bucket. Its size is 0 if it does not exist.
type indexObject struct {
	reader bucket.Reader
	bucket.Object
}

// IndexKey returns the key of the index of an archive, beside the archive. A name that begins with
// a dot is no content of a bundle.
func IndexKey(archive string) string { return "." + archive + ".index" }

// objectIndexVersion changes with the format of an index beside an archive. It does not name the
// bucket, so that an index is good for a copy, if that has the same ETags.
const objectIndexVersion = "layoutproxy object index 1\n"

// maxIndexObject is the largest index beside an archive that is read, in bytes.
const maxIndexObject = 256 << 20

// loadBeside returns the index beside the archive, if it is of exactly these objects; else nil.
func (s Set) loadBeside(ctx context.Context) *tarIndex {
	b := s.beside
	if b == nil || b.Size == 0 || b.Size > maxIndexObject {
		return nil
	}
	data, err := ObjectExtent(b.reader, b.Object).ReadAll(ctx)
	if err != nil {
		return nil // reading the archive reports it
	}
	ix, ok := decodeIndex(data, true, objectIndexVersion, s.Name, s.identity)
	if !ok {
		return nil
	}
	return ix
}

// errReadOnly says that an index cannot be written.
var errReadOnly = errors.New("the bucket is opened for reading only")

// needsIndexBeside reports whether no good index is beside the archive. If the index came from the
// cache, one that was written after the archive counts as good: nobody reads it.
func (a *Archive) needsIndexBeside() bool {
	b := a.set.beside
	if b == nil || a.written.Load() || !a.index.isComplete(a.set) {
		return false
	}
	return !a.cachedIndex || b.Size == 0 || !b.LastModified.After(a.set.Changed)
}

// WriteIndex writes the index beside an archive in a bucket, unless there is a good one, or the
// archive is incomplete. Errors: the context's; those of the bucket.
func (a *Archive) WriteIndex(ctx context.Context) error {
	if !a.needsIndexBeside() {
		return nil
	}
	b := a.set.beside
	to, ok := b.reader.(bucket.Bucket)
	if !ok {
		return fmt.Errorf("%s: %w", JoinPath(b.reader.Place(), IndexKey(a.set.Name)), errReadOnly)
	}
	data := encodeIndex(a.index, a.documents.all(), objectIndexVersion, a.set.Name, a.set.identity)
	_, err := to.Put(ctx, IndexKey(a.set.Name), bytes.NewReader(data), int64(len(data)), bucket.PutOptions{IfAbsent: b.Key == "", IfMatch: b.ETag})
	if err == nil || errors.Is(err, bucket.ErrChanged) { // another process has written it
		a.written.Store(true)
		return nil
	}
	return err
}
