package prune

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Options configure a pruner.
type Options struct {
	// Store is the existing directory of the store, or its place in a bucket, such as s3://bucket/prefix.
	Store string
	// Buckets opens the bucket of a store. It may be nil if the store is in a directory.
	Buckets func(bucket.Place) bucket.Bucket
	// CacheDir is the directory for archive indexes. If CacheDir is empty, indexes are not cached.
	CacheDir string
	// QuarantineDir is the directory with the records of damaged blobs. If it is "", no records are read.
	QuarantineDir string
	// Declared reads which images the releases in the store declare. If it is nil, no release declares
	// an image.
	Declared func(context.Context, *layoutstore.Snapshot) (Declarations, error)
	// Check is called with the effect of each plan that removes something. If it returns an error, the plan
	// is refused. It may be nil.
	Check func(Effect) error
	// Planned is called with each plan of [Pruner.Plan] and [Pruner.Run], in Run before anything is removed.
	// If it returns an error, nothing is removed. It may be nil.
	Planned func(Plan) error
	// Now returns the current time; nil means time.Now.
	Now func() time.Time
	// Before is called before each change of the store. If it returns an error, the change fails. Tests use
	// it to simulate failures and crashes. It may be nil.
	Before func(op, path string) error
}

// Declarations are the releases and release channels in a store, with the images that they declare.
type Declarations struct {
	Releases []Release
	Channels []Channel
	Platform bool // whether the store has releases of the platform
}

// Effect describes a store before and after a prune.
type Effect struct {
	Facts Facts
	Outcome
}

// Stays reports whether a prune keeps a manifest or blob of a repository.
func (e Effect) Stays(repository string, d digest.Digest) bool { return e.Content[repository][d] }

// Errors that a prune can return.
var (
	ErrLocked = publish.ErrLocked
	ErrLost   = publish.ErrLost
	ErrMoved  = errors.New("the store has changed since the plan was made")
	// ErrNotReady is an error that Options.Check can return. This package itself does not use it.
	ErrNotReady = errors.New("a kept release would be less ready to install than it is now")
	ErrBadPlan  = errors.New("not a plan file of layoutproxy prune")
)

// HiddenError reports problems that hide content of the store. Nothing can be removed safely, because the
// hidden content may need it.
type HiddenError struct{ Problems []problem.Problem }

func (e *HiddenError) Error() string {
	return fmt.Sprintf("a part of the store cannot be read, so it is unknown which images it needs: %s", e.Problems[0])
}

// Pruner prunes one store.
type Pruner struct {
	options Options
	bucket  bucket.Bucket // bucket of the store; nil if the store is in a directory
}

// New returns a pruner. It sends no request to a bucket. Errors are journal.ErrNotStore and those of the file
// system.
func New(o Options) (*Pruner, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if bucket.IsPlace(o.Store) {
		at, err := bucket.ParsePlace(o.Store)
		if err == nil && o.Buckets == nil {
			err = journal.ErrNotStore
		}
		if err != nil {
			return nil, err
		}
		return &Pruner{o, o.Buckets(at)}, nil
	}
	o.Store = filepath.Clean(o.Store)
	if _, err := journal.ReadState(o.Store); err != nil {
		return nil, err
	}
	return &Pruner{options: o}, nil
}

func (p *Pruner) now() time.Time { return p.options.Now() }

// open opens the store for a prune. It locks a store in a directory; if another process has the
// lock, the error is ErrLocked. A store in a bucket has no lock.
func (p *Pruner) open(ctx context.Context) (storage, error) {
	if p.bucket != nil {
		return p.openBucket(ctx)
	}
	s, err := p.lock(ctx)
	if err != nil {
		return nil, err
	}
	return &directory{s}, nil
}

// lock locks a store in a directory. If another process has the lock, the error is ErrLocked.
func (p *Pruner) lock(ctx context.Context) (*publish.Store, error) {
	return publish.Open(ctx, publish.Options{Dir: p.options.Store, Waiting: func() error { return ErrLocked }, Before: p.options.Before})
}

// Request says what to prune and how.
type Request struct {
	Policy Policy
	Grace  time.Duration // how long removed images stay available by digest; 0 means not at all
	Repack bool
}

// Plan makes a plan, and changes nothing. Errors are ErrLocked, *HiddenError, and those of [Decide],
// Options.Check, Options.Planned, the context and the file system.
func (p *Pruner) Plan(ctx context.Context, r Request) (Plan, error) {
	return p.prune(ctx, r, p.planned)
}

// Run makes a plan, and carries it out. Errors come from Plan and from the publication.
func (p *Pruner) Run(ctx context.Context, r Request) (Plan, error) {
	return p.prune(ctx, r, func(w *work) error {
		if err := p.planned(w); err != nil {
			return err
		}
		return w.execute(ctx)
	})
}

func (p *Pruner) planned(w *work) error {
	if p.options.Planned == nil {
		return nil
	}
	return p.options.Planned(w.plan)
}

// prune opens the store, makes a plan, and calls do with it.
func (p *Pruner) prune(ctx context.Context, r Request, do func(*work) error) (Plan, error) {
	s, err := p.open(ctx)
	if err != nil {
		return Plan{}, err
	}
	defer s.close()
	w, err := p.prepare(ctx, s, r, p.now())
	if err != nil {
		return Plan{}, err
	}
	return w.plan, do(w)
}

// Execute carries out a plan. If the store has changed since the plan was made, the error is ErrMoved. Other
// errors are those of [Pruner.Run].
func (p *Pruner) Execute(ctx context.Context, plan Plan) (Plan, error) {
	s, err := p.open(ctx)
	if err != nil {
		return Plan{}, err
	}
	defer s.close()
	if got := s.state().Generation; got != plan.Generation {
		return Plan{}, fmt.Errorf("%w: the store is at generation %d, but the plan is for generation %d", ErrMoved, got, plan.Generation)
	}
	w, err := p.prepare(ctx, s, plan.request(), plan.Time)
	if err != nil {
		return Plan{}, err
	}
	if !plan.isSame(w.plan) {
		return Plan{}, fmt.Errorf("%w: the same rules now give a different plan", ErrMoved)
	}
	return w.plan, w.execute(ctx)
}
