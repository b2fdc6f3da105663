package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// defaultManifestCache is how many bytes of manifests are kept in memory.
const defaultManifestCache = 16 << 20

// Options are the sources and settings of a Tree.
type Options struct {
	// Sources are directories, archives (NAME.tar) and chunk sets (named by their archive or
	// any chunk); each may be in a bucket (s3://BUCKET/PREFIX). A later source wins a tag.
	Sources []string
	// Roots are the paths below which the tree is served: AutoRoot, "" for the bare paths,
	// or repository names. The default is AutoRoot.
	Roots []string
	// SourceRoots are other roots for single sources, by the path in Sources. AutoRoot then
	// means the root in the references of that source.
	SourceRoots map[string][]string
	// Indexes are the paths, below the root, where discovery tags are
	// synthesized. Nil means those of package discovery.
	Indexes []string
	// NoEditionSplit serves the installer and the d8 program below a root that ends in an edition.
	// By default they are served beside the root: see package edition.
	NoEditionSplit bool
	// CacheDir is the directory of cached archive indexes. If it is empty, no index is cached.
	CacheDir string
	// WriteIndexes writes the indexes of archives in buckets beside the archives, too. Buckets
	// must then return a [bucket.Bucket].
	WriteIndexes bool
	// QuarantineDir is the directory where [Repository.Quarantine] keeps records for later
	// processes. Several processes may share it. If it is empty, no records are kept. It
	// cannot change after [Open].
	QuarantineDir string
	// Settle is how long an archive must be unchanged before it is read, unless it is
	// complete at the first scan.
	Settle time.Duration
	// VerifyKey limits serving to content that is listed in an inventory signed with this key.
	// [Open] fails for a source without one; after that, such a source is a problem. Imports
	// record the inventories of a store. If VerifyKey is nil, everything is served.
	VerifyKey *inventory.VerifyKey
	// IgnoreInventory reads sources as if they had no inventory. VerifyKey must then be nil.
	IgnoreInventory bool
	// TreesOnly ignores the archives in directories.
	TreesOnly bool
	// Opened is called for each file that is read, with its state when it was opened: each
	// file of a tree, and all files of an archive with layouts. Several goroutines may call
	// it at once. It may be nil.
	Opened func(fs.FileInfo)
	// Unread is called for each file of a chunk set that the last scan did not read because
	// it is after the end of the archive. An earlier scan may have read the file as a part
	// of an earlier archive. Unread may be nil.
	Unread func(fs.FileInfo)
	// Store is the source that is a store. In a bucket, a store is empty before the first
	// import; for any other source in a bucket, an empty place is an error of [Open].
	Store string
	// Buckets opens the bucket of a source. If it is nil, a source in a bucket is an error of [Open].
	Buckets func(bucket.Place) bucket.Reader
	// Patience is how long a request waits for the storage before it fails with ErrSlow. 0
	// means until its context ends.
	Patience time.Duration
}

// Errors of invalid options.
var (
	ErrRootInvalid = errors.New("not a legal repository name") // a root or index path
	ErrNoSource    = errors.New("no source given")
)

// Check validates options without reading a source. Errors: ErrRootInvalid, ErrNoSource.
func (o Options) Check() error { return o.complete() }

// complete sets defaults. Errors: ErrRootInvalid, ErrNoSource.
func (o *Options) complete() error {
	if len(o.Roots) == 0 {
		o.Roots = []string{AutoRoot}
	}
	if o.Indexes == nil {
		o.Indexes = discovery.Indexes()
	}
	roots := slices.Concat(o.Roots, o.Indexes)
	for _, own := range o.SourceRoots {
		roots = append(roots, own...)
	}
	for _, r := range roots {
		if r != "" && !names.IsRepository(r) {
			return fmt.Errorf("%q: %w", r, ErrRootInvalid)
		}
	}
	o.Indexes = slices.DeleteFunc(slices.Clone(o.Indexes), func(s string) bool { return s == "" })
	o.Sources = catalogFirst(o.Sources)
	if len(o.Sources) == 0 {
		return ErrNoSource
	}
	return nil
}

// split decides which layouts are named beside a root.
func (o *Options) split(root string) edition.Split {
	if o.NoEditionSplit {
		return edition.Unsplit(root)
	}
	return edition.Of(root)
}

// Tree is an ordered list of sources and the current snapshot of them.
type Tree struct {
	options  Options
	cache    *manifestCache
	snapshot atomic.Pointer[Snapshot]
	// quarantine outlives every snapshot, because it is about files.
	quarantine *quarantine
	storage    *storage

	scanning chan struct{} // capacity 1; full during a scan; guards options, sources and pruned
	sources  []*source
	pruned   time.Time // when the cache of archive indexes was last pruned

	waiting sync.Mutex // guards next
	next    *refresh
}

// Open scans the sources for the first time. Errors: ErrRootInvalid, ErrNoSource;
// a source that cannot be opened; with a VerifyKey, *inventory.SignatureError and
// inventory.ErrFormat; the context's.
func Open(ctx context.Context, options Options) (*Tree, error) {
	if err := options.complete(); err != nil {
		return nil, err
	}
	t := &Tree{options: options, cache: &manifestCache{limit: defaultManifestCache}, quarantine: newQuarantine(options.QuarantineDir), storage: &storage{patience: options.Patience}, scanning: make(chan struct{}, 1)}
	var err error
	if t.sources, err = openSources(options, nil); err != nil {
		return nil, err
	}
	if _, err := t.scan(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// openSources opens the sources of options. It reuses those in old, even if they are
// missing at the moment.
func openSources(options Options, old []*source) ([]*source, error) {
	var sources []*source
	for _, path := range options.Sources {
		if i := slices.IndexFunc(old, func(o *source) bool { return o.path == volume.CleanPath(path) }); i >= 0 {
			kept := *old[i]
			kept.roots, kept.others, kept.key = options.SourceRoots[path], pathsOf(options.Sources), options.VerifyKey
			sources = append(sources, &kept)
			continue
		}
		s, err := openSource(path, options)
		if err != nil {
			return nil, err
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// Reconfigure changes the options of the tree and scans. Sources that stay keep their state,
// their cache and their settle time. Snapshots stay valid. Errors: those of [Open]; the tree
// is then unchanged.
func (t *Tree) Reconfigure(ctx context.Context, options Options) (Change, error) {
	if err := options.complete(); err != nil {
		return Change{}, err
	}
	if err := t.beginScan(ctx); err != nil {
		return Change{}, err
	}
	defer t.endScan()
	sources, err := openSources(options, t.sources)
	if err != nil {
		return Change{}, err
	}
	oldOptions, oldSources := t.options, t.sources
	t.options, t.sources = options, sources
	change, err := t.scan(ctx)
	if err != nil {
		t.options, t.sources = oldOptions, oldSources
	}
	return change, err
}

// Snapshot returns the tree as the last scan found it. It never waits.
func (t *Tree) Snapshot() *Snapshot { return t.snapshot.Load() }

// SaveCaches writes the indexes of archives and queued records of the quarantine. Once a day
// it prunes unused indexes. Only later processes benefit, so call it when this one is idle.
// With WriteIndexes, it fails if an index cannot be written into a bucket.
func (t *Tree) SaveCaches(ctx context.Context) error {
	t.quarantine.syncRecords()
	if t.beginScan(ctx) != nil {
		return nil
	}
	var archives []*volume.Archive
	var dirs []string // directories of which all archives are read
	for _, s := range t.sources {
		for _, h := range s.last.archives {
			if a, ok := h.vol.(*volume.Archive); ok {
				archives = append(archives, a)
			}
		}
		if s.last.loose != nil && s.last.failed == nil && s.bucket == nil {
			dirs = append(dirs, s.path)
		}
	}
	cache := volume.Cache(t.options.CacheDir)
	now := time.Now()
	prune := now.Sub(t.pruned) > pruneEvery
	if prune {
		t.pruned = now
	}
	t.endScan()
	var err error
	for _, a := range archives {
		if ctx.Err() != nil {
			return nil
		}
		a.ReadDocuments(ctx, t.options.WriteIndexes && err == nil)
		a.SaveIndex(cache)
		if t.options.WriteIndexes && err == nil { // after one error, each request would fail
			err = a.WriteIndex(ctx)
		}
		a.DropDocuments()
	}
	if prune {
		cache.Prune(now, dirs)
	}
	return err
}

// pruneEvery is how often a process prunes the cache.
const pruneEvery = 24 * time.Hour

// Change is the result of a refresh.
type Change struct {
	Generation uint64        // after the refresh
	Changed    bool          // whether there is a new generation
	Roots      bool          // whether the roots have changed
	Again      time.Duration // how long to wait before the next scan; 0 means until a change
}

// refresh is a scan that one or more callers of Refresh wait for.
type refresh struct {
	done   chan struct{}
	change Change
	err    error
}

// Refresh scans the sources and replaces the current snapshot. The scan begins after the
// call; callers that wait for a scan to begin share it. The error is the context's: a file
// that cannot be read is a Problem of the snapshot.
func (t *Tree) Refresh(ctx context.Context) (Change, error) {
	t.waiting.Lock()
	r := t.next
	if r == nil {
		r = &refresh{done: make(chan struct{})}
		t.next = r
		go t.run(r, context.WithoutCancel(ctx))
	}
	t.waiting.Unlock()
	select {
	case <-r.done:
		return r.change, r.err
	case <-ctx.Done():
		return Change{}, ctx.Err()
	}
}

func (t *Tree) run(r *refresh, ctx context.Context) {
	defer close(r.done)
	t.scanning <- struct{}{}
	defer t.endScan()
	t.waiting.Lock()
	t.next = nil // later callers need a scan that begins after this one
	t.waiting.Unlock()
	r.change, r.err = t.scan(ctx)
}

// beginScan waits for the end of another scan, which may hang together with its disk. The
// error is the cause of ctx.
func (t *Tree) beginScan(ctx context.Context) error {
	select {
	case t.scanning <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *Tree) endScan() { <-t.scanning }

// ReadWith calls read with the current snapshot. If read finds that a file changed since the
// last scan, or that a cached archive index is wrong, ReadWith rescans and calls read once
// more. Errors: those of read; those of [Tree.Refresh].
func (t *Tree) ReadWith(ctx context.Context, read func(*Snapshot) error) error {
	err := read(t.Snapshot())
	if !errors.Is(err, ErrStale) {
		return err
	}
	if _, err := t.Refresh(ctx); err != nil {
		return err
	}
	return read(t.Snapshot())
}
