package layoutstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// bucketVolume is the volume for a store in a bucket. A scan loads a new generation into the same
// volume, so that it can reuse unchanged layouts.
type bucketVolume struct {
	bucket  bucket.Reader
	layouts atomic.Pointer[map[string]*bucketLayout]
	// missing is whether the object of a blob of the generation is missing or has another size. Then each
	// scan lists the blobs again, because the object may still arrive.
	missing atomic.Bool
}

// bucketLayout is a layout in a generation, with the list of its blobs.
type bucketLayout struct {
	journal.StoredLayout
	blobs []bucketBlob // sorted
}

// bucketBlob describes a blob of a layout. There are many, so it takes only 16 bytes, and hash is
// only the first 8 bytes of the digest. The key of the object contains the complete digest.
type bucketBlob struct {
	hash  uint64
	place uint64 // epoch, size in bytes, and isMissing if the object does not exist
}

const (
	sizeBits  = 47
	epochBits = 16
	isMissing = 1 << (sizeBits + epochBits)
)

func (b bucketBlob) size() int64   { return int64(b.place & (1<<sizeBits - 1)) }
func (b bucketBlob) epoch() uint32 { return uint32(b.place >> sizeBits & (1<<epochBits - 1)) }

func (b bucketBlob) compare(other bucketBlob) int {
	return cmp.Or(cmp.Compare(b.hash, other.hash), cmp.Compare(b.place&^isMissing, other.place&^isMissing))
}

// newBucketBlob fails if the size or the epoch exceeds the limit of a store.
func newBucketBlob(d digest.Digest, size int64, epoch uint32) (bucketBlob, error) {
	if size < 0 || size >= 1<<sizeBits || epoch >= 1<<epochBits {
		return bucketBlob{}, fmt.Errorf("%s: %d bytes or epoch %d exceeds the limits of a store", d, size, epoch)
	}
	return bucketBlob{hash: hashOf(d), place: uint64(epoch)<<sizeBits | uint64(size)}, nil
}

func hashOf(d digest.Digest) uint64 {
	var sum [8]byte
	_, _ = hex.Decode(sum[:], []byte(d.Encoded()[:16]))
	hash := binary.BigEndian.Uint64(sum[:])
	if d.Algorithm() != digest.SHA256 {
		hash = ^hash
	}
	return hash
}

// find finds a blob of the layout. ok is false if there is none, or if the object is missing.
func (l *bucketLayout) find(d digest.Digest) (bucketBlob, bool) {
	hash := hashOf(d)
	i, ok := slices.BinarySearchFunc(l.blobs, hash, func(b bucketBlob, hash uint64) int { return cmp.Compare(b.hash, hash) })
	if !ok || l.blobs[i].place&isMissing != 0 {
		return bucketBlob{}, false
	}
	return l.blobs[i], true
}

// layout returns a layout of the generation, or nil.
func (v *bucketVolume) layout(path string) *bucketLayout {
	if all := v.layouts.Load(); all != nil {
		return (*all)[path]
	}
	return nil
}

// hasAllBlobs reports whether the objects of all blobs existed when the generation was loaded, and
// none has been found missing since.
func (v *bucketVolume) hasAllBlobs() bool { return !v.missing.Load() }

// noteMissing records that the object of a blob was deleted, or got another size, after the generation was
// loaded.
func (v *bucketVolume) noteMissing() { v.missing.Store(true) }

// String implements [volume.Volume].
func (v *bucketVolume) String() string { return v.bucket.Place() }

// Where implements [volume.Volume].
func (v *bucketVolume) Where(layout string) (path, entry string) { return v.bucket.Place(), layout }

// Layouts implements [volume.Volume].
func (v *bucketVolume) Layouts(ctx context.Context) (volume.Listing, error) {
	if ctx.Err() != nil {
		return volume.Listing{}, context.Cause(ctx)
	}
	var listing volume.Listing
	if all := v.layouts.Load(); all != nil {
		for path, l := range *all {
			if l.Index.Size < 0 || l.Index.Digest.Validate() != nil {
				listing.Problems = append(listing.Problems, Problem{Kind: Damaged, Path: path, Entry: strings.TrimPrefix(path+"/index.json", "./"),
					Reason: fmt.Sprintf("the generation has a malformed size or digest of this index: %d bytes, %.100q", l.Index.Size, l.Index.Digest)})
				continue
			}
			file := &storedFile{v.bucket, l.Index.Key, l.Index.Size, l.Index.Digest}
			listing.Layouts = append(listing.Layouts, volume.Layout{Path: path, Index: extent.List{{File: file, Len: l.Index.Size}},
				Stamp: volume.Stamp{ID: string(l.Index.Digest), Settled: true}})
		}
	}
	slices.SortFunc(listing.Layouts, func(a, b volume.Layout) int { return strings.Compare(a.Path, b.Path) })
	return listing, nil
}

// Locate implements [volume.Volume].
func (v *bucketVolume) Locate(ctx context.Context, layout string, d digest.Digest) (extent.List, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if l := v.layout(layout); l != nil && d.Validate() == nil {
		if b, ok := l.find(d); ok {
			return volume.StoredExtent(v.bucket, bucket.Object{Key: journal.BlobKey(d, b.epoch()), Size: b.size()}, v.noteMissing), nil
		}
	}
	return nil, fmt.Errorf("%s of %s in %s: %w", d, layout, v, fs.ErrNotExist)
}

// Blobs implements [volume.Volume].
func (v *bucketVolume) Blobs(ctx context.Context, layout string) ([]digest.Digest, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	l := v.layout(layout)
	if l == nil {
		return nil, nil
	}
	list, err := l.Blobs.Read(ctx, v.bucket)
	if err != nil {
		return nil, err
	}
	var all []digest.Digest
	err = journal.ParseBlobs(list, func(b journal.StoredBlob) error {
		if _, ok := l.find(b.Digest); ok {
			all = append(all, b.Digest)
		}
		return nil
	})
	return all, err
}

// storedFile is an immutable object of a store that is not a blob, such as an index.
type storedFile struct {
	bucket bucket.Reader
	key    string
	size   int64
	digest digest.Digest // digest of the complete content
}

// String returns the name of the object with the bucket, for messages.
func (f *storedFile) String() string { return f.bucket.Place() + "/" + f.key }

// errNoFile is the error for an attempt to open an object as a file.
var errNoFile = errors.New("an object in a bucket cannot be opened as a file")

// Open implements extent.File.
func (f *storedFile) Open(ctx context.Context) (*os.File, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, fmt.Errorf("%s: %w", f, errNoFile)
}

// OpenRange implements extent.Ranged.
func (f *storedFile) OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	body, o, err := f.bucket.Get(ctx, f.key, off, n, "")
	switch {
	case errors.Is(err, fs.ErrNotExist): // a sweep has deleted the object, so there is a later generation
		return nil, fmt.Errorf("%w: %w", ErrStale, err)
	case errors.Is(err, bucket.ErrChanged):
		return nil, fmt.Errorf("%s: too short: %w", f, errChecksum)
	case err != nil:
		return nil, err
	}
	if o.Size != f.size {
		body.Close()
		return nil, fmt.Errorf("%s: %d bytes, %d expected: %w", f, o.Size, f.size, errChecksum)
	}
	if off != 0 || n != f.size {
		return body, nil
	}
	return &verifiedBody{body, f.digest.Verifier(), f.size}, nil
}

// verifiedBody is an object's body. If the content does not match the digest, the Read of the last bytes fails.
type verifiedBody struct {
	io.ReadCloser
	verifier digest.Verifier
	left     int64 // number of bytes that have not been read
}

// Read implements [io.Reader]. If the content is wrong, it does not return the last bytes: callers
// that know the size ignore an error that comes with these bytes or after them.
func (b *verifiedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	_, _ = b.verifier.Write(p[:n])
	b.left -= int64(n)
	if (b.left == 0 || errors.Is(err, io.EOF)) && !b.verifier.Verified() {
		return 0, errChecksum
	}
	return n, err
}

var errChecksum = errors.New("checksum mismatch")
