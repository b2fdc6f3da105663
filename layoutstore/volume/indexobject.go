package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// indexObject is the index beside an archive in a bucket. Its Size is 0 if it does not exist.
type indexObject struct {
	reader bucket.Reader
	bucket.Object
}

// IndexKey returns the key of the index beside an archive in a bucket. It begins with a dot,
// so that the index does not count as content of a bundle.
func IndexKey(archive string) string { return "." + archive + ".index" }

// objectIndexVersion changes with the format of an index beside an archive. Such an index does not
// name its bucket, so it also serves a copy of the archive with the same ETags.
const objectIndexVersion = "layoutproxy object index 1\n"

// maxIndexObject is the largest index beside an archive that is read, in bytes.
const maxIndexObject = 256 << 20

// loadBeside returns the index beside the archive, or nil if there is none of exactly these objects.
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

// errReadOnly is the error of writing an index into a bucket that cannot be written to.
var errReadOnly = errors.New("the bucket is opened for reading only")

// needsIndexBeside reports whether the archive needs a new index beside it. If the index came
// from the cache, nobody has read the one beside the archive: it counts as good if it was
// written after the archive.
func (a *Archive) needsIndexBeside() bool {
	b := a.set.beside
	if b == nil || a.written.Load() || !a.index.isComplete(a.set) {
		return false
	}
	return !a.cachedIndex || b.Size == 0 || !b.LastModified.After(a.set.Changed)
}

// WriteIndex writes the index beside an archive in a bucket, unless a good one exists, or the
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
	if err == nil || errors.Is(err, bucket.ErrChanged) { // another process has just written it
		a.written.Store(true)
		return nil
	}
	return err
}
