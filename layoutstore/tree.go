package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
)

// defaultManifestCache is how many bytes of manifests are kept in memory.
const defaultManifestCache = 16 << 20

// Options say what a Tree is made of.
type Options struct {
	// Sources are directories. Of two that hold a tag the later one wins.
	Sources []string
	// Roots are the paths below which the tree is served: AutoRoot, "" for the
	// bare paths, or repository names. None is AutoRoot.
	Roots []string
	// Indexes are the paths, below the root, where discovery tags are
	// synthesized. Nil means those of package discovery.
	Indexes []string
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
		s, err := openSource(path)
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

// Change is what a refresh found.
type Change struct {
	Generation uint64 // after it
	Changed    bool   // whether there is a new generation
	Roots      bool   // whether the roots are others than before
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
