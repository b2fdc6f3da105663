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

// GenerationsDir is the prefix of all keys that belong to generations of a store in a bucket. Each
// generation has its own prefix below it.
const GenerationsDir = Dir + "/generations/"

// Pointer is the only object that changes in a store in a bucket. It refers to the generation that
// readers see. A writer replaces it only if it has not changed since this writer read it. If
// two writers try at the same time, one of them fails, so no change is lost.
type Pointer struct {
	Format     int    `json:"format"`
	Generation uint64 `json:"generation"`
	// Object is the key of the [Generation].
	Object string `json:"object"`
	// Epoch is the number of sweeps so far. A sweep increases it before it deletes anything. It deletes only
	// blobs that were uploaded in earlier epochs and that the current generation does not use. Writers never
	// reuse such blobs. So even a slow sweep never deletes a blob of a later generation.
	Epoch uint32 `json:"epoch,omitempty"`

	ETag string `json:"-"` // the ETag of the object from which the pointer was read
}

// Generation is one state of a store in a bucket. Its object never changes.
type Generation struct {
	Format     int    `json:"format"`
	Generation uint64 `json:"generation"`
	// Previous is the key of the previous generation.
	Previous string         `json:"previous,omitempty"`
	Layouts  []StoredLayout `json:"layouts"`
	// Pruned contains manifests whose tags a prune has removed, as in [State].
	Pruned []Pruned `json:"pruned,omitempty"`
	// Signed contains the signed inventories of imported bundles.
	Signed []SignedInventory `json:"signed,omitempty"`
}

// StoredLayout describes a layout of a store in a bucket.
type StoredLayout struct {
	Path string `json:"path"`
	// Index is the index.json of the layout.
	Index StoredObject `json:"index"`
	// Blobs is the list of the layout's blobs, in the format of [ParseBlobs].
	Blobs StoredObject `json:"blobs"`
}

// SignedInventory refers to the objects that contain an inventory and its signature.
type SignedInventory struct {
	Inventory StoredObject `json:"inventory"`
	Signature StoredObject `json:"signature"`
}

// StoredObject refers to an object that never changes, with the size and digest of its content.
type StoredObject struct {
	Key    string        `json:"key"`
	Size   int64         `json:"size"`
	Digest digest.Digest `json:"digest"`
}

// StoredBlob is an entry in the list of a layout's blobs.
type StoredBlob struct {
	Digest digest.Digest
	Size   int64
	Epoch  uint32 // the epoch in which a writer uploaded the blob
}

// Key returns the key of the object that contains the blob.
func (b StoredBlob) Key() string { return BlobKey(b.Digest, b.Epoch) }

// BlobKey returns the key for a blob that a writer uploads in the given epoch.
func BlobKey(d digest.Digest, epoch uint32) string {
	if epoch == 0 {
		return names.BlobPath(d)
	}
	return fmt.Sprintf("%s.%d", names.BlobPath(d), epoch)
}

// ReadPointer reads the pointer of a store in a bucket. It fails with ErrNotStore if there is no
// pointer, or if the place contains files that were copied from a store in a directory. It also
// fails if the pointer is malformed or of a later version. Other errors come from the bucket.
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
		return Pointer{}, fmt.Errorf("%s contains a copy of a store in a directory: %w", b.Place(), ErrNotStore)
	}
	p.ETag = o.ETag
	return p, nil
}

// maxPointer is the maximum size of a pointer in bytes.
const maxPointer = 1 << 20

// Write replaces the pointer old, or writes the first pointer if old is nil. It returns the pointer
// with its new ETag. If another writer has written the pointer meanwhile, Write fails with
// bucket.ErrChanged. Other errors come from the bucket.
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

// NewGenerationDir returns a prefix for the keys of a new generation. The prefix ends with a slash,
// and no other writer uses it.
func NewGenerationDir(generation uint64) string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return fmt.Sprintf("%s%08d-%s/", GenerationsDir, generation, hex.EncodeToString(id[:]))
}

// GenerationOfKey returns the number of the generation to which a key belongs. ok is false if the
// key belongs to no generation. If the key is malformed, the number is the highest possible one.
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

// generationObject is the last part of the key of a Generation.
const generationObject = "generation.json"

// Write writes the generation below the prefix dir, and returns its key.
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

// ReadGeneration reads the generation with the given key. It fails if the object is malformed.
// Other errors come from the bucket.
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

// PutStored writes an object, and returns its key, size and digest.
func PutStored(ctx context.Context, b bucket.Bucket, key string, data []byte) (StoredObject, error) {
	sum := sha256.Sum256(data)
	_, err := b.Put(ctx, key, bytes.NewReader(data), int64(len(data)), bucket.PutOptions{SHA256: hex.EncodeToString(sum[:])})
	return StoredObject{Key: key, Size: int64(len(data)), Digest: digest.NewDigestFromBytes(digest.SHA256, sum[:])}, err
}

// Read returns the content of the object. It fails if the content does not match the size and
// digest. Other errors come from the bucket.
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
		return nil, o, fmt.Errorf("%s/%s has %d bytes: %w", b.Place(), key, o.Size, ErrTooLong)
	}
	data, err := io.ReadAll(body)
	return data, o, err
}
