package importer

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

// Options configure an importer.
type Options struct {
	// Store is the directory of the store, or its place in a bucket, as s3://bucket/prefix. The first import creates it.
	Store string
	// Buckets opens stores and bundles in buckets. It may be nil.
	Buckets func(bucket.Place) bucket.Bucket
	// AllowIncomplete publishes the complete images of an incomplete bundle.
	AllowIncomplete bool
	// VerifyKey is the key that must have signed each bundle. If it is nil, signatures are not
	// required.
	VerifyKey *inventory.VerifyKey
	// KeepPacked moves archives into the store without unpacking them. It cannot be combined
	// with AllowIncomplete.
	KeepPacked bool
	// CacheDir is the directory for archive indexes; if it is empty, they are not cached.
	CacheDir string
	// Jobs is the number of blobs that are read at the same time; 0 means one per processor.
	Jobs int
	// Progress receives the progress of an import. It may be nil.
	Progress Progress
	// Before is called before each change of the store. If it returns an error, the change
	// fails with it. It may be nil. Tests use it to inject failures and crashes.
	Before func(op, path string) error
	// Log may be nil.
	Log *zap.Logger
}

// Progress receives the progress of an import. Several goroutines call it at once.
type Progress interface {
	// Begin reports how many blobs and bytes will be verified. It is called once per import.
	Begin(blobs int, bytes int64)
	// Read reports that n more bytes were read.
	Read(n int)
}

// silent is a Progress that does nothing.
type silent struct{}

func (silent) Begin(int, int64) {}
func (silent) Read(int)         {}

// Importer imports bundles into one store. Several goroutines and processes may call its methods at
// once: they take turns; for a store in a bucket, the first one to publish wins.
type Importer struct {
	options Options
}

// ErrNoStore reports that no store was given.
var ErrNoStore = errors.New("no store given")

// ErrPackedIncomplete reports that KeepPacked and AllowIncomplete are both set: an archive is
// kept packed completely or not at all.
var ErrPackedIncomplete = errors.New("an incomplete bundle cannot be kept packed")

// New returns an importer. It touches no file. Errors: ErrNoStore, ErrPackedIncomplete,
// ErrPackedInBucket, or that the place of a store in a bucket is malformed.
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
	if o.Before == nil {
		o.Before = func(string, string) error { return nil }
	}
	if bucket.IsPlace(o.Store) {
		return newInBucket(o)
	}
	o.Store = filepath.Clean(o.Store)
	return &Importer{options: o}, nil
}

// Import publishes bundles as one generation of the store; for the same tag, a later bundle
// wins. Errors: *IncompleteError if a bundle is incomplete or damaged; *NoSpaceError if the
// store's file system has too little free space; ErrLost and ErrNoConditions for a store in a
// bucket; *inventory.SignatureError or inventory.ErrFormat if the key did not sign a bundle;
// those of layoutstore.Open for a missing bundle; the context's; the file system's. With
// AllowIncomplete, the report lists missing content and the error is nil.
func (i *Importer) Import(ctx context.Context, bundles ...string) (Report, error) {
	b, err := openBundle(ctx, bundles, i.options)
	if err != nil {
		return Report{}, err
	}
	if bucket.IsPlace(i.options.Store) {
		return i.importToBucket(ctx, b)
	}
	s, err := i.open(ctx, i.logWaiting)
	if err != nil {
		return Report{}, err
	}
	defer s.store.Close()
	report, err := b.importWith(ctx, s.importBundle)
	if !errors.As(err, new(*publish.UnfinishedError)) { // if unfinished, the archives may still be unpublished
		s.finishMoves(ctx, true) // after the import, as the moved archives may be part of this bundle
	}
	if err != nil {
		return Report{}, s.clearAfter(ctx, err)
	}
	return report, s.store.Clear()
}

// Recover completes the publication of a killed process, if there is one, and creates the store
// if it is missing. It does not wait for the lock: the process that holds it has already done
// this. Errors: the context's; the file system's.
func (i *Importer) Recover(ctx context.Context) error {
	if bucket.IsPlace(i.options.Store) {
		return nil // the pointer moves in one step, so no publication is ever unfinished
	}
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

// logWaiting logs that this import waits for another one.
func (i *Importer) logWaiting() error {
	i.options.Log.Info("waiting for another import into the store", zap.String("store", i.options.Store))
	return nil
}

// session is one import into a locked store.
type session struct {
	options Options
	target  target
	store   *publish.Store  // nil for a store in a bucket
	bucket  *publish.Bucket // nil for a store in a directory
	begun   bool            // Progress.Begin was called
}

// open locks the store, creates it if it is missing, and completes the publication in its
// journal.
func (i *Importer) open(ctx context.Context, waiting func() error) (*session, error) {
	s, err := publish.Open(ctx, publish.Options{Dir: i.options.Store, Waiting: waiting, Before: i.options.Before})
	if err != nil {
		return nil, err
	}
	return &session{options: i.options, store: s, target: &directory{s, i.options}}, nil
}

// clearAfter empties staging after a failed import, and returns its error. If the context ended
// the import, proven blobs stay for the next one.
func (s *session) clearAfter(ctx context.Context, err error) error {
	switch {
	case errors.As(err, new(*publish.UnfinishedError)): // the next process needs the staged files
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return errors.Join(err, s.store.Clear())
}
