package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// indexObject is the index beside an archive in a bucket. If its Size is 0, the index does not exist.
type indexObject struct {
	reader bucket.Reader
	bucket.Object
}

// IndexKey returns the key of the index beside an archive in a bucket. The key begins with a dot,
// so the index does not count as content of a bundle.
func IndexKey(archive string) string { return "." + archive + ".index" }

// objectIndexVersion changes when the format of an index beside an archive changes. Such an index
// does not name the bucket. So it is also valid for a copy of the archive with the same ETags.
const objectIndexVersion = "layoutproxy object index 1\n"

// maxIndexObject limits, in bytes, the size of an index beside an archive. A larger index is not read.
const maxIndexObject = 256 << 20

// loadBeside returns the index beside the archive. It returns nil if there is no index, or if the index
// is unreadable, damaged, too large, or made for other versions of the archive's objects.
func (s Set) loadBeside(ctx context.Context) *tarIndex {
	b := s.beside
	if b == nil || b.Size == 0 || b.Size > maxIndexObject {
		return nil
	}
	data, err := ObjectExtent(b.reader, b.Object).ReadAll(ctx)
	if err != nil {
		return nil // the same error occurs and is reported when the archive is read
	}
	ix, ok := decodeIndex(data, true, objectIndexVersion, s.Name, s.identity)
	if !ok {
		return nil
	}
	return ix
}

// errReadOnly is the error of WriteIndex for a bucket that is opened only for reading.
var errReadOnly = errors.New("the bucket is opened for reading only")

// needsIndexBeside reports whether to write a new index beside the archive. If the archive was
// opened from the cache, the index beside it has not been read. That index then counts as valid if
// it is newer than the archive.
func (a *Archive) needsIndexBeside() bool {
	b := a.set.beside
	if b == nil || a.written.Load() || !a.index.isComplete(a.set) {
		return false
	}
	return !a.cachedIndex || b.Size == 0 || !b.LastModified.After(a.set.Changed)
}

// WriteIndex writes the index beside an archive in a bucket. It does nothing if a valid index exists or the
// archive is incomplete. It fails if the bucket is opened only for reading, ctx ends, or a request fails.
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
	if err == nil || errors.Is(err, bucket.ErrChanged) { // ErrChanged means that another process has just written the index
		a.written.Store(true)
		return nil
	}
	return err
}
