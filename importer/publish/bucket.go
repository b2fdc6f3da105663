package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// Bucket is a store in a bucket, as one writer has found it. Nothing locks it: of two writers the one that moves the
// pointer first wins, and the other one's [Bucket.Publish] fails with [ErrLost]. Until then no reader sees anything of
// what a writer uploads.
type Bucket struct {
	bucket     bucket.Bucket
	pointer    journal.Pointer
	generation journal.Generation
	dir        string // of keys for the next generation

	mu   sync.Mutex
	free map[digest.Digest]bucket.Object // blobs that a layout may have from now on, by the objects that have them
	have map[digest.Digest]uint32        // epochs of these objects
}

// ErrLost reports that another writer has published first.
var ErrLost = errors.New("another writer has published first, and nothing that this one has written is visible")

// ErrNoConditions reports a store that ignores the conditions of writes.
var ErrNoConditions = errors.New("the object store ignores the conditions of writes (If-Match, If-None-Match): two writers could undo each other's work")

// OpenBucket opens a store in a bucket for writing. It probes whether the object store heeds conditions, and creates the
// store if there is none. Errors: ErrNoConditions; those of the bucket; that the store is malformed.
func OpenBucket(ctx context.Context, b bucket.Bucket) (*Bucket, error) {
	if err := probe(ctx, b); err != nil {
		return nil, err
	}
	pointer, err := journal.ReadPointer(ctx, b)
	if errors.Is(err, journal.ErrNotStore) {
		pointer, err = create(ctx, b)
	}
	if err != nil {
		return nil, err
	}
	return openAt(ctx, b, pointer)
}

// ReadBucket opens a store in a bucket and changes nothing. Call [Bucket.Probe] before the first change. Errors: journal.ErrNotStore;
// those of the bucket; that the store is malformed.
func ReadBucket(ctx context.Context, b bucket.Bucket) (*Bucket, error) {
	pointer, err := journal.ReadPointer(ctx, b)
	if err != nil {
		return nil, err
	}
	return openAt(ctx, b, pointer)
}

// Probe finds out whether the object store refuses a write whose condition does not hold. Errors: ErrNoConditions; those of
// the bucket.
func (s *Bucket) Probe(ctx context.Context) error { return probe(ctx, s.bucket) }

// Place returns the place of the store, as s3://bucket/prefix.
func (s *Bucket) Place() string { return s.bucket.Place() }

func openAt(ctx context.Context, b bucket.Bucket, pointer journal.Pointer) (*Bucket, error) {
	s := &Bucket{bucket: b, pointer: pointer}
	var err error
	if s.generation, err = journal.ReadGeneration(ctx, b, s.pointer.Object); err != nil {
		return nil, err
	}
	s.dir = journal.NewGenerationDir(s.pointer.Generation + 1)
	return s, nil
}

// create creates an empty store, or returns the pointer of a writer that was faster.
func create(ctx context.Context, b bucket.Bucket) (journal.Pointer, error) {
	if _, err := b.Stat(ctx, journal.StateFile); err == nil {
		if p, err := journal.ReadPointer(ctx, b); !errors.Is(err, journal.ErrNotStore) {
			return p, err
		}
		return journal.Pointer{}, fmt.Errorf("%s is the copy of the store of a directory, or another file of that name: import into another prefix", b.Place())
	}
	key, err := journal.Generation{Format: journal.Format}.Write(ctx, b, journal.NewGenerationDir(0))
	if err != nil {
		return journal.Pointer{}, err
	}
	p, err := journal.Pointer{Format: journal.Format, Object: key}.Write(ctx, b, nil)
	if errors.Is(err, bucket.ErrChanged) {
		return journal.ReadPointer(ctx, b)
	}
	return p, err
}

// probePrefix is that of the objects that a probe writes and deletes.
const probePrefix = journal.Dir + "/probe-"

// probe finds out whether the store refuses a write whose condition does not hold.
func probe(ctx context.Context, b bucket.Bucket) error {
	key := probePrefix + path.Base(journal.NewGenerationDir(0))
	write := func(text string, o bucket.PutOptions) (bucket.Object, error) {
		return b.Put(ctx, key, strings.NewReader(text), int64(len(text)), o)
	}
	first, err := write("first", bucket.PutOptions{IfAbsent: true})
	if err != nil {
		return fmt.Errorf("a first write to the store: %w", err)
	}
	defer func() { _ = b.Delete(context.WithoutCancel(ctx), key) }() // a sweep removes it otherwise
	if _, err := write("second", bucket.PutOptions{IfAbsent: true}); !errors.Is(err, bucket.ErrChanged) {
		return cmpError(err, ErrNoConditions)
	}
	other := digest.FromString("no object has this").Encoded()[:32] // as long as an MD5 sum
	if _, err := write("third", bucket.PutOptions{IfMatch: other}); !errors.Is(err, bucket.ErrChanged) {
		return cmpError(err, ErrNoConditions)
	}
	_, err = write("fourth", bucket.PutOptions{IfMatch: first.ETag})
	return err
}

func cmpError(err, otherwise error) error {
	if err == nil {
		return otherwise
	}
	return err
}

// CheckCurrent fails with ErrLost if another writer has published since the store was opened.
func (s *Bucket) CheckCurrent(ctx context.Context) error {
	now, err := journal.ReadPointer(ctx, s.bucket)
	if err == nil && now.ETag != s.pointer.ETag {
		return fmt.Errorf("%s: %w", s.bucket.Place(), ErrLost)
	}
	return err
}

// Pointer returns the pointer as this writer has found it.
func (s *Bucket) Pointer() journal.Pointer { return s.pointer }

// Generation returns the generation that the writer starts from.
func (s *Bucket) Generation() journal.Generation { return s.generation }

// FindBlobs lists the blobs in the bucket. Afterwards [Bucket.Find] knows those that a layout may rely on: the ones that
// the generation has, and those that a writer has uploaded since the last sweep. Errors: those of the bucket.
func (s *Bucket) FindBlobs(ctx context.Context) error {
	var old map[string]bool // keys of the generation
	if s.pointer.Epoch > 0 {
		var err error
		if old, err = s.keysOf(ctx, s.generation); err != nil {
			return err
		}
	}
	s.free, s.have = map[digest.Digest]bucket.Object{}, map[digest.Digest]uint32{}
	return s.bucket.List(ctx, blobsPrefix, func(o bucket.Object) error {
		d, epoch, ok := journal.ParseBlobKey(o.Key)
		if ok && (epoch == s.pointer.Epoch || old[o.Key]) {
			s.free[d], s.have[d] = o, epoch
		}
		return nil
	})
}

const blobsPrefix = "blobs/"

// keysOf returns the keys of the blobs of a generation.
func (s *Bucket) keysOf(ctx context.Context, g journal.Generation) (map[string]bool, error) {
	keys := map[string]bool{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxRequests)
	for _, l := range g.Layouts {
		group.Go(func() error {
			blobs, err := s.blobsOf(ctx, l)
			mu.Lock()
			defer mu.Unlock()
			for _, b := range blobs {
				keys[b.Key()] = true
			}
			return err
		})
	}
	return keys, group.Wait()
}

// maxRequests bounds the small requests at a time.
const maxRequests = 16

// blobsOf reads the list of blobs of a layout.
func (s *Bucket) blobsOf(ctx context.Context, l journal.StoredLayout) ([]journal.StoredBlob, error) {
	list, err := l.Blobs.Read(ctx, s.bucket)
	if err != nil {
		return nil, err
	}
	var all []journal.StoredBlob
	err = journal.ParseBlobs(list, func(b journal.StoredBlob) error { all = append(all, b); return nil })
	return all, err
}

// Users counts the layouts of the generation that have each blob. Errors: those of the bucket.
func (s *Bucket) Users(ctx context.Context) (map[digest.Digest]uint64, error) {
	users := map[digest.Digest]uint64{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxRequests)
	for _, l := range s.generation.Layouts {
		group.Go(func() error {
			blobs, err := s.blobsOf(ctx, l)
			mu.Lock()
			defer mu.Unlock()
			for _, b := range blobs {
				users[b.Digest]++
			}
			return err
		})
	}
	return users, group.Wait()
}

// Find returns the object of a blob that a layout may rely on.
func (s *Bucket) Find(d digest.Digest) (bucket.Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.free[d]
	return o, ok
}

// OpenBlob opens the object of a blob.
func (s *Bucket) OpenBlob(ctx context.Context, o bucket.Object) (io.ReadCloser, error) {
	r, _, err := s.bucket.Get(ctx, o.Key, 0, -1, "")
	return r, err
}

// PutBlob uploads a blob. The body has to fail in place of its last bytes if it has not the digest: then the object
// does not come into being. Errors: that of the body; those of the bucket.
func (s *Bucket) PutBlob(ctx context.Context, d digest.Digest, body io.Reader, size int64) error {
	var sum string
	if d.Algorithm() == digest.SHA256 {
		sum = d.Encoded()
	}
	epoch := s.pointer.Epoch
	if _, ok := s.Find(d); ok { // a damaged object is written again under its name
		epoch = s.epochOf(d)
	}
	o, err := s.bucket.Put(ctx, journal.BlobKey(d, epoch), body, size, bucket.PutOptions{SHA256: sum})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free[d], s.have[d] = o, epoch
	return nil
}

func (s *Bucket) epochOf(d digest.Digest) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have[d]
}

// Changes are what a generation has that the one before it does not.
type Changes struct {
	Indexes []journal.IndexChange
	// Blobs are blobs that layouts get, by path.
	Blobs map[string][]digest.Digest
	// Removed are blobs that layouts lose, by path.
	Removed map[string][]digest.Digest
	// Pruned are all manifests that are removed later. Nil means those of the generation before.
	Pruned []journal.Pruned
	// Revived are manifests that a prune was going to remove.
	Revived []journal.Pruned
	Signed  []Signed
}

// Signed is a signed inventory.
type Signed struct{ Inventory, Signature []byte }

// IsEmpty reports whether there is nothing to publish.
func (c Changes) IsEmpty() bool {
	return len(c.Indexes) == 0 && len(c.Blobs)+len(c.Removed) == 0 && c.Pruned == nil && len(c.Revived) == 0 && len(c.Signed) == 0
}

// Publish publishes changes as the next generation: it writes new indexes and lists of blobs, then the generation, and
// then moves the pointer. Errors: ErrLost; those of the bucket; journal.ErrTooLong.
func (s *Bucket) Publish(ctx context.Context, c Changes) error {
	next, err := s.next(ctx, c)
	if err != nil {
		return err
	}
	return s.move(ctx, next, s.pointer.Epoch)
}

// move writes a generation and moves the pointer to it.
func (s *Bucket) move(ctx context.Context, next journal.Generation, epoch uint32) error {
	key, err := next.Write(ctx, s.bucket, s.dir)
	if err != nil {
		return err
	}
	p := journal.Pointer{Format: journal.Format, Generation: next.Generation, Object: key, Epoch: epoch}
	p, err = p.Write(ctx, s.bucket, &s.pointer)
	if errors.Is(err, bucket.ErrChanged) {
		return fmt.Errorf("%s: %w", s.bucket.Place(), ErrLost)
	}
	if err != nil {
		return err
	}
	s.pointer, s.generation, s.dir = p, next, journal.NewGenerationDir(next.Generation+1)
	return nil
}

// next makes the next generation, and writes what it consists of.
func (s *Bucket) next(ctx context.Context, c Changes) (journal.Generation, error) {
	next := s.generation
	next.Generation, next.Previous = s.pointer.Generation+1, s.pointer.Object
	if c.Pruned != nil {
		next.Pruned = c.Pruned
	}
	next.Pruned = slices.DeleteFunc(slices.Clone(next.Pruned), func(p journal.Pruned) bool {
		return slices.ContainsFunc(c.Revived, func(r journal.Pruned) bool { return r.Path == p.Path && r.Digest == p.Digest })
	})
	layouts := map[string]journal.StoredLayout{}
	for _, l := range next.Layouts {
		layouts[l.Path] = l
	}
	changed := map[string]*layoutChange{}
	change := func(at string) *layoutChange {
		if changed[at] == nil {
			changed[at] = &layoutChange{layout: layouts[at], blobs: c.Blobs[at], removed: c.Removed[at]}
		}
		return changed[at]
	}
	for _, x := range c.Indexes {
		if len(x.New) > journal.MaxIndex {
			return next, (&journal.Journal{Indexes: []journal.IndexChange{x}}).Check()
		}
		change(x.Path).index = x.New
	}
	for at := range c.Blobs {
		change(at)
	}
	for at := range c.Removed {
		change(at)
	}
	if err := s.writeLayouts(ctx, changed); err != nil {
		return next, err
	}
	for at, x := range changed {
		x.layout.Path = at
		layouts[at] = x.layout
	}
	next.Layouts = slices.SortedFunc(maps.Values(layouts), func(a, b journal.StoredLayout) int { return strings.Compare(a.Path, b.Path) })
	signed, err := s.writeSigned(ctx, c.Signed)
	next.Signed = slices.Concat(next.Signed, signed)
	return next, err
}

// layoutChange is a layout that is being changed.
type layoutChange struct {
	layout  journal.StoredLayout
	index   []byte          // nil if it stays
	blobs   []digest.Digest // to add
	removed []digest.Digest
}

// writeLayouts writes the indexes and lists of blobs of changed layouts.
func (s *Bucket) writeLayouts(ctx context.Context, changed map[string]*layoutChange) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxRequests)
	for number, at := range slices.Sorted(maps.Keys(changed)) {
		group.Go(func() error { return s.writeLayout(ctx, fmt.Sprintf("%s%d-", s.dir, number), changed[at]) })
	}
	return group.Wait()
}

func (s *Bucket) writeLayout(ctx context.Context, name string, x *layoutChange) (err error) {
	if x.index != nil {
		if x.layout.Index, err = journal.PutStored(ctx, s.bucket, name+"index.json", x.index); err != nil {
			return err
		}
	}
	isNew := x.layout.Blobs.Key == ""
	if len(x.blobs)+len(x.removed) == 0 && !isNew {
		return nil
	}
	var blobs []journal.StoredBlob
	if !isNew {
		if blobs, err = s.blobsOf(ctx, x.layout); err != nil {
			return err
		}
	}
	stays := map[digest.Digest]bool{}
	for _, d := range x.removed {
		stays[d] = false
	}
	for _, d := range x.blobs {
		stays[d] = true
	}
	blobs = slices.DeleteFunc(blobs, func(b journal.StoredBlob) bool { _, changed := stays[b.Digest]; return changed })
	for d, fresh := range stays {
		if !fresh {
			continue
		}
		o, ok := s.Find(d)
		if !ok {
			return fmt.Errorf("%s is not in %s", d, s.bucket.Place())
		}
		blobs = append(blobs, journal.StoredBlob{Digest: d, Size: o.Size, Epoch: s.epochOf(d)})
	}
	x.layout.Blobs, err = journal.PutStored(ctx, s.bucket, name+"blobs", journal.FormatBlobs(blobs))
	return err
}

// writeSigned writes signed inventories that the generation does not have.
func (s *Bucket) writeSigned(ctx context.Context, all []Signed) (stored []journal.SignedInventory, err error) {
	for i, x := range all {
		if slices.ContainsFunc(s.generation.Signed, func(have journal.SignedInventory) bool { return x.is(have) }) {
			continue
		}
		var next journal.SignedInventory
		name := fmt.Sprintf("%ssigned-%d.json", s.dir, i)
		if next.Signature, err = journal.PutStored(ctx, s.bucket, name+".sig", x.Signature); err != nil {
			return nil, err
		}
		if next.Inventory, err = journal.PutStored(ctx, s.bucket, name, x.Inventory); err != nil {
			return nil, err
		}
		stored = append(stored, next)
	}
	return stored, nil
}

func (x Signed) is(have journal.SignedInventory) bool {
	return have.Inventory.Digest == digest.FromBytes(x.Inventory) && have.Signature.Digest == digest.FromBytes(x.Signature)
}

// HasSigned reports whether the generation has a signed inventory.
func (s *Bucket) HasSigned(x Signed) bool { return slices.ContainsFunc(s.generation.Signed, x.is) }

// ReadIndex reads the index of a layout; it is nil if there is no such layout.
func (s *Bucket) ReadIndex(ctx context.Context, at string) ([]byte, error) {
	i := slices.IndexFunc(s.generation.Layouts, func(l journal.StoredLayout) bool { return l.Path == at })
	if i < 0 {
		return nil, nil
	}
	data, err := s.generation.Layouts[i].Index.Read(ctx, s.bucket)
	return data, err
}
