package journal

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// GenerationsDir is the prefix of the keys of all generations of a store in a bucket. The keys of each generation have a
// prefix of their own below it.
const GenerationsDir = Dir + "/generations/"

// Pointer is the one object of a store in a bucket that changes. It names the generation that readers see. It is written
// only on condition that it has not changed since it was read: if two writers write it at once, one of them fails, and no
// change is lost.
type Pointer struct {
	Format     int    `json:"format"`
	Generation uint64 `json:"generation"`
	// Object is the key of the Generation.
	Object string `json:"object"`
	// Epoch is the number of sweeps so far. A sweep raises it before it deletes anything, and deletes only blobs of
	// earlier epochs that the generation does not name. Writers never rely on such blobs. So a sweep never deletes a
	// blob of a later generation, however late it deletes.
	Epoch uint32 `json:"epoch,omitempty"`

	ETag string `json:"-"` // of the object from which it was read
}

// Generation is the state of a store in a bucket: an object that never changes.
type Generation struct {
	Format     int    `json:"format"`
	Generation uint64 `json:"generation"`
	// Previous is the key of the generation before it.
	Previous string         `json:"previous,omitempty"`
	Layouts  []StoredLayout `json:"layouts"`
	// Pruned are manifests whose tags a prune has removed: see [State].
	Pruned []Pruned `json:"pruned,omitempty"`
	// Signed are the signed inventories of imported bundles.
	Signed []SignedInventory `json:"signed,omitempty"`
}

// StoredLayout is a layout of a store in a bucket.
type StoredLayout struct {
	Path  string       `json:"path"`
	Index StoredObject `json:"index"` // its index.json
	Blobs StoredObject `json:"blobs"` // the list of its blobs; see [ParseBlobs]
}

// SignedInventory is an inventory and its signature.
type SignedInventory struct {
	Inventory StoredObject `json:"inventory"`
	Signature StoredObject `json:"signature"`
}

// StoredObject is an object that never changes, with the size and digest of its content.
type StoredObject struct {
	Key    string        `json:"key"`
	Size   int64         `json:"size"`
	Digest digest.Digest `json:"digest"`
}

// StoredBlob is an entry of the list of blobs of a layout.
type StoredBlob struct {
	Digest digest.Digest
	Size   int64
	Epoch  uint32 // of the writer that uploaded it
}

// Key returns the key of the blob.
func (b StoredBlob) Key() string { return BlobKey(b.Digest, b.Epoch) }

// BlobKey returns the key of a blob that a writer uploads in an epoch.
func BlobKey(d digest.Digest, epoch uint32) string {
	if epoch == 0 {
		return names.BlobPath(d)
	}
	return fmt.Sprintf("%s.%d", names.BlobPath(d), epoch)
}

// ReadPointer reads the pointer of a store in a bucket. Errors: ErrNotStore if there is none, or if the bucket has a copy
// of a store in a directory; those of the bucket; that the pointer is malformed or of a later version.
func ReadPointer(ctx context.Context, b bucket.Reader) (Pointer, error) {
	data, o, err := readObject(ctx, b, StateFile, maxPointer)
	if errors.Is(err, fs.ErrNotExist) {
		return Pointer{}, fmt.Errorf("%s: %w", b.Place(), ErrNotStore)
	}
	if err != nil {
		return Pointer{}, err
	}
	var p Pointer
	if err := decode(data, &p, &p.Format); err != nil {
		return Pointer{}, fmt.Errorf("state of the store, %s/%s: %w", b.Place(), StateFile, err)
	}
	if p.Object == "" {
		return Pointer{}, fmt.Errorf("%s: a copy of a store in a directory: %w", b.Place(), ErrNotStore)
	}
	p.ETag = o.ETag
	return p, nil
}

// maxPointer limits the bytes of a pointer.
const maxPointer = 1 << 20

// Write replaces the pointer old, or writes the first one if old is nil. It returns the pointer with its new ETag. Errors:
// bucket.ErrChanged if another writer was faster; those of the bucket.
func (p Pointer) Write(ctx context.Context, b bucket.Bucket, old *Pointer) (Pointer, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return p, err
	}
	condition := bucket.PutOptions{IfAbsent: true, ContentType: "application/json"}
	if old != nil {
		condition.IfAbsent, condition.IfMatch = false, old.ETag
	}
	o, err := b.Put(ctx, StateFile, bytes.NewReader(data), int64(len(data)), condition)
	p.ETag = o.ETag
	return p, err
}

// NewGenerationDir returns the prefix of the keys of a new generation, which no other writer uses. It ends with a slash.
func NewGenerationDir(generation uint64) string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return fmt.Sprintf("%s%08d-%s/", GenerationsDir, generation, hex.EncodeToString(id[:]))
}

// GenerationOfKey returns the number of the generation to which a key belongs: the highest number if the key is malformed.
// ok is false if the key belongs to none.
func GenerationOfKey(key string) (generation uint64, ok bool) {
	rest, ok := strings.CutPrefix(key, GenerationsDir)
	if !ok {
		return 0, false
	}
	number, _, _ := strings.Cut(rest, "-")
	generation, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return math.MaxUint64, true
	}
	return generation, true
}

// generationObject is the name of a Generation in its directory.
const generationObject = "generation.json"

// Write writes the generation to its directory, and returns its key.
func (g Generation) Write(ctx context.Context, b bucket.Bucket, dir string) (string, error) {
	data, err := json.Marshal(g)
	if err != nil {
		return "", err
	}
	if err := CheckSize("the state of the store", int64(len(data))); err != nil {
		return "", err
	}
	_, err = b.Put(ctx, dir+generationObject, bytes.NewReader(data), int64(len(data)), bucket.PutOptions{ContentType: "application/json"})
	return dir + generationObject, err
}

// ReadGeneration reads a generation. Errors: those of the bucket; that it is malformed.
func ReadGeneration(ctx context.Context, b bucket.Reader, key string) (Generation, error) {
	data, _, err := readObject(ctx, b, key, MaxFile)
	if err != nil {
		return Generation{}, err
	}
	var g Generation
	if err := decode(data, &g, &g.Format); err != nil {
		return Generation{}, fmt.Errorf("generation of the store, %s/%s: %w", b.Place(), key, err)
	}
	return g, nil
}

// PutStored writes an object that never changes.
func PutStored(ctx context.Context, b bucket.Bucket, key string, data []byte) (StoredObject, error) {
	sum := sha256.Sum256(data)
	_, err := b.Put(ctx, key, bytes.NewReader(data), int64(len(data)), bucket.PutOptions{SHA256: hex.EncodeToString(sum[:])})
	return StoredObject{Key: key, Size: int64(len(data)), Digest: digest.NewDigestFromBytes(digest.SHA256, sum[:])}, err
}

// Read reads the object. Errors: those of the bucket; that the content does not match its size and digest.
func (o StoredObject) Read(ctx context.Context, b bucket.Reader) ([]byte, error) {
	data, _, err := readObject(ctx, b, o.Key, MaxFile)
	if err == nil && (int64(len(data)) != o.Size || digest.FromBytes(data) != o.Digest) {
		err = fmt.Errorf("%s/%s: checksum mismatch: content is %s", b.Place(), o.Key, digest.FromBytes(data))
	}
	return data, err
}

func readObject(ctx context.Context, b bucket.Reader, key string, limit int64) ([]byte, bucket.Object, error) {
	body, o, err := b.Get(ctx, key, 0, -1, "")
	if err != nil {
		return nil, o, err
	}
	defer body.Close()
	if o.Size > limit {
		return nil, o, fmt.Errorf("%s/%s: %d bytes: %w", b.Place(), key, o.Size, ErrTooLong)
	}
	data, err := io.ReadAll(body)
	return data, o, err
}
