package importer

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
)

// Options say where bundles go and how.
type Options struct {
	// Store is the directory of the store. The first import makes it.
	Store string
	// AllowIncomplete publishes what is whole of a bundle that has gaps.
	AllowIncomplete bool
	// KeepPacked takes archives into the store as they are. It does not go together
	// with AllowIncomplete.
	KeepPacked bool
	// CacheDir is where the indexes of archives are kept; empty is nowhere.
	CacheDir string
	// Jobs is how many blobs are read at a time; 0 is one for each processor.
	Jobs int
	// Progress is told how far an import is. It may be nil.
	Progress Progress
	// Before is called before each change of the store with what will be done; its error
	// is that of the change. It may be nil. Tests fail and die there.
	Before func(op, path string) error
	// Log may be nil.
	Log *zap.Logger
}

// Progress is told how far an import is, from several goroutines at once.
type Progress interface {
	// Begin says how many blobs and bytes there are to prove. It is called once an import.
	Begin(blobs int, bytes int64)
	// Read says that n bytes more are behind us.
	Read(n int)
}

// silent is a Progress that nobody asked for.
type silent struct{}

func (silent) Begin(int, int64) {}
func (silent) Read(int)         {}

// Importer imports bundles into one store. Its methods may be called from several
// goroutines and processes at once: they take turns.
type Importer struct {
	options Options
}

// ErrNoStore says that no store was named.
var ErrNoStore = errors.New("no store given")

// ErrPackedIncomplete says that an archive cannot be kept as it is and yet be
// published in part.
var ErrPackedIncomplete = errors.New("what is not whole cannot be kept packed")

// New makes an importer. It touches no file. Errors: ErrNoStore, ErrPackedIncomplete.
func New(o Options) (*Importer, error) {
	if o.Store == "" {
		return nil, ErrNoStore
	}
	if o.KeepPacked && o.AllowIncomplete {
		return nil, ErrPackedIncomplete
	}
	if o.Jobs <= 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Progress == nil {
		o.Progress = silent{}
	}
	o.Store = filepath.Clean(o.Store)
	return &Importer{options: o}, nil
}

// Import publishes bundles as one generation of the store; a later bundle wins a
// tag. Errors: *GapError where a bundle is not whole; *NoSpaceError where the store's
// file system has no room for it; those of layoutstore.Open for a bundle that is not
// there; the context's; the file system's. The report tells of gaps beside a nil
// error where they are allowed.
func (i *Importer) Import(ctx context.Context, bundles ...string) (Report, error) {
	opened := &fileid.Set{}
	b, err := openBundle(ctx, bundles, i.options, opened)
	if err != nil {
		return Report{}, err
	}
	s, err := i.open(ctx, i.turn)
	if err != nil {
		return Report{}, err
	}
	defer s.store.Close()
	report, err := s.take(ctx, b)
	if errors.Is(err, layoutstore.ErrStale) && ctx.Err() == nil {
		// It was written to meanwhile, or a kept index of an archive proved wrong.
		if err = b.refresh(ctx); err == nil {
			report, err = s.take(ctx, b)
		}
	}
	if !errors.As(err, new(*publish.UnfinishedError)) { // else the record counts from when the journal is finished
		s.finishMoves(ctx, true) // not earlier: they may be of this bundle
	}
	if err != nil {
		return Report{}, s.failed(ctx, err)
	}
	report.Opened = opened
	return report, s.store.Clear()
}

// Recover finishes the publication that a process was killed in, if there is one,
// and makes the store if it is not there. It does not wait: where another process
// holds the lock, that one has finished it. Errors: the context's; the file system's.
func (i *Importer) Recover(ctx context.Context) error {
	s, err := i.open(ctx, func() error { return publish.ErrLocked })
	if errors.Is(err, publish.ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.store.Close()
	s.finishMoves(ctx, false)
	return s.store.Clear()
}

// turn says that another import is waited for.
func (i *Importer) turn() error {
	i.options.Log.Info("waiting for another import into the store", zap.String("store", i.options.Store))
	return nil
}

// session is one import into a store that is locked for it.
type session struct {
	options Options
	store   *publish.Store
	begun   bool // Progress was told
}

// open locks the store, created if need be, and finishes what is in its journal.
func (i *Importer) open(ctx context.Context, waiting func() error) (*session, error) {
	s, err := publish.Open(ctx, publish.Options{Dir: i.options.Store, Waiting: waiting, Before: i.options.Before})
	if err != nil {
		return nil, err
	}
	return &session{options: i.options, store: s}, nil
}

// failed empties staging, unless the context ended the import: then what is proven
// stays for the next one.
func (s *session) failed(ctx context.Context, err error) error {
	var standing *publish.UnfinishedError
	switch {
	case errors.As(err, &standing):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return errors.Join(err, s.store.Clear())
}
