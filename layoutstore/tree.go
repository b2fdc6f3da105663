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

// defaultManifestCache is the maximum size of the cached manifests in bytes.
const defaultManifestCache = 16 << 20

// Options are the sources and the settings of a Tree.
type Options struct {
	// Sources are directories, archives (NAME.tar) and chunk sets (named by their archive or any
	// chunk). Each may be in a bucket (s3://BUCKET/PREFIX). The last source with a tag wins.
	Sources []string
	// Roots are the roots below which the tree is served. Each is AutoRoot, a repository name, or ""
	// for names without a root. The default is AutoRoot.
	Roots []string
	// SourceRoots are the roots of sources that do not use Roots, by the path of the source in
	// Sources. AutoRoot then means the root in the references of that source.
	SourceRoots map[string][]string
	// Indexes are the paths below a root at which repositories get discovery tags. Nil means the
	// default paths of package discovery.
	Indexes []string
	// NoEditionSplit serves the installer and the d8 program below the root, even if it ends with an
	// edition. By default, they are served beside such a root: see package edition.
	NoEditionSplit bool
	// CacheDir is the directory of cached archive indexes. If CacheDir is "", no index is cached.
	CacheDir string
	// WriteIndexes makes [Tree.SaveCaches] also write the indexes of archives in buckets, beside the
	// archives. The function Buckets must then return a [bucket.Bucket].
	WriteIndexes bool
	// QuarantineDir is the directory in which [Repository.Quarantine] keeps records for later
	// processes. Several processes may share it. If it is "", no records are kept. It cannot
	// change after [Open].
	QuarantineDir string
	// Settle is how long an archive must be unchanged before it is read. At the first scan, complete
	// archives are read at once.
	Settle time.Duration
	// VerifyKey is the key that must have signed the inventories. Only content in these inventories
	// is served. If a source has no signed inventory, [Open] fails, and later scans report a
	// problem. In a store, the inventories are those that imports recorded. If VerifyKey is nil,
	// everything is served.
	VerifyKey *inventory.VerifyKey
	// Unsigned are those of the Sources that are read without a signature, although there is a VerifyKey.
	Unsigned []string
	// IgnoreInventory ignores the inventories of sources. VerifyKey must then be nil.
	IgnoreInventory bool
	// TreesOnly ignores the archives in directories.
	TreesOnly bool
	// Opened is called for each file that is read, with the state of the file when it was opened.
	// This includes each file of a tree, and all files of an archive with layouts. Several goroutines
	// may call it at once. It may be nil.
	Opened func(fs.FileInfo)
	// Unread is called for each chunk after the end of an archive with layouts, or for all its files if it has
	// no end, except for zeros as padding. Such files may be left over. Unread needs Opened, and may be nil.
	Unread func(fs.FileInfo)
	// Store is the path of the source that is a store. In a bucket, its place may be empty before the
	// first import. For any other source in a bucket, [Open] fails if the place is empty.
	Store string
	// Buckets opens the bucket of a source. If it is nil, [Open] fails for a source in a bucket.
	Buckets func(bucket.Place) bucket.Reader
	// Patience is how long a request waits for the storage before it fails with ErrSlow. 0 means that
	// it waits until its context ends.
	Patience time.Duration
}

// These are the errors for invalid options.
var (
	ErrRootInvalid = errors.New("not a legal repository name") // for a root or an index path
	ErrNoSource    = errors.New("no source given")
)

// Check validates options without reading a source. The error is ErrRootInvalid or ErrNoSource.
func (o Options) Check() error { return o.complete() }

// complete sets defaults and validates the options. The error is ErrRootInvalid or ErrNoSource.
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

// keyOf returns the key that must have signed the content of a source, or nil.
func (o *Options) keyOf(path string) *inventory.VerifyKey {
	if slices.Contains(o.Unsigned, path) {
		return nil
	}
	return o.VerifyKey
}

// split returns which layouts are beside a root instead of below it.
func (o *Options) split(root string) edition.Split {
	if o.NoEditionSplit {
		return edition.Unsplit(root)
	}
	return edition.Of(root)
}

// Tree is an ordered list of sources, with the current snapshot.
type Tree struct {
	options  Options
	cache    *manifestCache
	snapshot atomic.Pointer[Snapshot]
	// quarantine is shared by all snapshots, because it refers to files.
	quarantine *quarantine
	storage    *storage

	scanning chan struct{} // has capacity 1; full during a scan; protects options, sources and pruned
	sources  []*source
	pruned   time.Time // when the cache of archive indexes was last pruned

	waiting sync.Mutex // guards next
	next    *refresh
}

// Open returns a tree, and scans its sources for the first time. The error is ErrRootInvalid,
// ErrNoSource, the context's, or that of opening a source. With a VerifyKey, it may also be an
// *inventory.SignatureError or inventory.ErrFormat.
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

// openSources prepares the sources in options. It reuses the sources in old, even those that no
// longer exist.
func openSources(options Options, old []*source) ([]*source, error) {
	var sources []*source
	for _, path := range options.Sources {
		if i := slices.IndexFunc(old, func(o *source) bool { return o.path == volume.CleanPath(path) }); i >= 0 {
			kept := *old[i]
			kept.roots, kept.others, kept.key = options.SourceRoots[path], pathsOf(options.Sources), options.keyOf(path)
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

// Reconfigure changes the options of the tree, and scans. Sources that remain keep their state,
// their cache and their settle time. Snapshots remain valid. The errors are those of [Open]. After
// an error, the tree is unchanged.
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

// Snapshot returns the snapshot of the last scan. It never waits.
func (t *Tree) Snapshot() *Snapshot { return t.snapshot.Load() }

// SaveCaches writes the cached indexes of archives, and queued records of the quarantine. Once a
// day, it removes unused indexes. All of this helps only later processes, so call SaveCaches when
// this process is idle. With WriteIndexes, it fails if an index cannot be written into a bucket.
func (t *Tree) SaveCaches(ctx context.Context) error {
	t.quarantine.syncRecords()
	if t.beginScan(ctx) != nil {
		return nil
	}
	var archives []*volume.Archive
	var dirs []string // directories whose archives have all been read
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
	// Reconfigure may change the options after the end of this scan.
	cache, write := volume.Cache(t.options.CacheDir), t.options.WriteIndexes
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
		a.ReadDocuments(ctx, write && err == nil)
		a.SaveIndex(cache)
		if write && err == nil { // stop after one error, because other requests would fail, too
			err = a.WriteIndex(ctx)
		}
		a.DropDocuments()
	}
	if prune {
		cache.Prune(now, dirs)
	}
	return err
}

// pruneEvery is how long a process waits before it removes unused indexes again.
const pruneEvery = 24 * time.Hour

// Change describes the result of a refresh.
type Change struct {
	Generation uint64        // generation after the refresh
	Changed    bool          // whether there is a new generation
	Roots      bool          // whether the roots have changed
	Again      time.Duration // time to wait before the next scan; 0 means until something changes
}

// refresh is a scan for which one or more callers of Refresh wait.
type refresh struct {
	done   chan struct{}
	change Change
	err    error
}

// Refresh scans the sources and replaces the current snapshot. The scan begins after the call.
// Callers that wait for a scan to begin share one scan. A file that cannot be read is a Problem of
// the snapshot. So the error is only the context's, or one for which [IsExhausted] is true.
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
	t.next = nil // later callers need another scan, because this one begins now
	t.waiting.Unlock()
	r.change, r.err = t.scan(ctx)
}

// beginScan waits for the end of another scan, which may hang. The error is the cause of ctx.
func (t *Tree) beginScan(ctx context.Context) error {
	select {
	case t.scanning <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *Tree) endScan() { <-t.scanning }

// ReadWith calls read with the current snapshot. read may find that a file has changed since the
// last scan, or that a cached archive index is wrong. Then ReadWith rescans, and calls read once
// more. Errors come from read and [Tree.Refresh].
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
