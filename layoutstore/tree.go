package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// defaultManifestCache is how many bytes of manifests are kept in memory.
const defaultManifestCache = 16 << 20

// Options say what a Tree is made of.
type Options struct {
	// Sources are directories, archives (NAME.tar) and chunk sets, which go by their
	// archive's name or that of any chunk. Of two that hold a tag the later one wins.
	Sources []string
	// Roots are the paths below which the tree is served: AutoRoot, "" for the
	// bare paths, or repository names. None is AutoRoot.
	Roots []string
	// Indexes are the paths, below the root, where discovery tags are
	// synthesized. Nil means those of package discovery.
	Indexes []string
	// CacheDir is where the indexes of archives are kept; empty is nowhere.
	CacheDir string
	// Settle is how long an archive has to be unchanged before it is read, unless
	// it is there and whole at the first scan.
	Settle time.Duration
}

// ErrRootInvalid says that a root or index path is not a repository name.
var ErrRootInvalid = errors.New("not a legal repository name")

// check fills in defaults, and fails with ErrRootInvalid or ErrNoSource.
func (o *Options) check() error {
	if len(o.Roots) == 0 {
		o.Roots = []string{AutoRoot}
	}
	if o.Indexes == nil {
		o.Indexes = discovery.Indexes()
	}
	for _, r := range slices.Concat(o.Roots, o.Indexes) {
		if r != "" && !ValidName(r) {
			return fmt.Errorf("%q: %w", r, ErrRootInvalid)
		}
	}
	o.Indexes = slices.DeleteFunc(slices.Clone(o.Indexes), func(s string) bool { return s == "" })
	if len(o.Sources) == 0 {
		return ErrNoSource
	}
	return nil
}

// ErrNoSource says that a tree was to be made of nothing.
var ErrNoSource = errors.New("no source given")

// Tree is an ordered list of sources and the current snapshot of them.
type Tree struct {
	options  Options
	cache    *manifestCache
	snapshot atomic.Pointer[Snapshot]

	scanning sync.Mutex // held during a scan; guards sources
	sources  []*source

	waiting sync.Mutex // guards next
	next    *refresh
}

// Open scans the sources for the first time. Errors: ErrRootInvalid, ErrNoSource;
// a source that cannot be opened; the context's.
func Open(ctx context.Context, options Options) (*Tree, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	t := &Tree{options: options, cache: &manifestCache{limit: defaultManifestCache}}
	for _, path := range options.Sources {
		s, err := openSource(path, options)
		if err != nil {
			return nil, err
		}
		t.sources = append(t.sources, s)
	}
	if _, err := t.scan(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// Snapshot is the tree as the last scan found it. It never waits.
func (t *Tree) Snapshot() *Snapshot { return t.snapshot.Load() }

// Keep keeps the indexes of the archives that were read, for the next process. It
// is worth nothing to this one, and is called when nothing else is to be done.
func (t *Tree) Keep(ctx context.Context) {
	t.scanning.Lock()
	var archives []*volume.Archive
	for _, s := range t.sources {
		for _, h := range s.archives {
			if a, ok := h.vol.(*volume.Archive); ok {
				archives = append(archives, a)
			}
		}
	}
	t.scanning.Unlock()
	for _, a := range archives {
		if ctx.Err() != nil {
			return
		}
		a.Keep(volume.Cache(t.options.CacheDir))
	}
}

// Change is what a refresh found.
type Change struct {
	Generation uint64 // after it
	Changed    bool   // whether there is a new generation
	Roots      bool   // whether the roots are others than before
	// Again is when something that is waited for has to be looked at again; 0 is never.
	Again time.Duration
}

// refresh is one scan that several callers of Refresh wait for.
type refresh struct {
	done   chan struct{}
	change Change
	err    error
}

// Refresh scans the sources and makes what it finds the current snapshot. The
// scan begins after the call; callers that wait for one to begin share it. The
// error is the context's: what cannot be read is a Problem of the snapshot.
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
	t.scanning.Lock()
	defer t.scanning.Unlock()
	t.waiting.Lock()
	t.next = nil // who comes now wants a scan that begins after this one
	t.waiting.Unlock()
	r.change, r.err = t.scan(ctx)
}
