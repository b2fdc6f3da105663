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
	// Store is the directory of the store, or its address in a bucket as s3://bucket/prefix. The
	// first import creates the store.
	Store string
	// Buckets returns the bucket at a place. It is needed for stores and bundles in buckets;
	// otherwise it may be nil.
	Buckets func(bucket.Place) bucket.Bucket
	// AllowIncomplete means that the import publishes the complete images of an incomplete bundle.
	AllowIncomplete bool
	// VerifyKey is the public key with which each bundle's signature is verified. If it is nil, no
	// signature is needed.
	VerifyKey *inventory.VerifyKey
	// KeepPacked means that archives are moved into the store without being unpacked. It cannot be
	// combined with AllowIncomplete.
	KeepPacked bool
	// CacheDir is the directory that caches archive indexes. If it is "", they are not cached.
	CacheDir string
	// Jobs is the maximum number of blobs that are read at the same time; 0 means one per core.
	Jobs int
	// Progress receives the progress of an import. It may be nil.
	Progress Progress
	// Before is called before each change of the store. If it returns an error, the change fails
	// with this error. Tests use it to inject failures and crashes. It may be nil.
	Before func(op, path string) error
	// Log receives the log messages. It may be nil.
	Log *zap.Logger
}

// Progress receives the progress of an import. Its methods must be safe for concurrent calls.
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
// the same time. Imports into a directory take turns. Imports into a bucket run at the same time:
// the first to publish wins, and the others that have changes fail.
type Importer struct {
	options Options
}

// ErrNoStore reports that no store was given.
var ErrNoStore = errors.New("no store given")

// ErrPackedIncomplete reports that KeepPacked and AllowIncomplete are both set. They exclude each
// other, because an archive is kept packed completely or not at all.
var ErrPackedIncomplete = errors.New("an incomplete bundle cannot be kept packed")

// New returns an importer. It reads and writes no file. It fails with ErrNoStore,
// ErrPackedIncomplete or ErrPackedInBucket, or if the address of a store in a bucket is malformed.
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

// Import publishes bundles as one generation of the store. If bundles have the same tag, the later
// bundle wins. With AllowIncomplete, the report lists missing content and the error is nil.
//
// Import fails with *IncompleteError if a bundle is incomplete or damaged, and with *NoSpaceError
// if the store's file system has too little free space. For a store in a bucket, it can fail with
// ErrLost or ErrNoConditions. If the key did not sign a bundle, the error is
// *inventory.SignatureError or inventory.ErrFormat. If a bundle cannot be opened, the error is a
// *BundleError. Other errors come from the context and the file system.
func (i *Importer) Import(ctx context.Context, bundles ...string) (Report, error) {
	b, err := openBundle(ctx, bundles, i.options)
	if err != nil {
		return Report{}, &BundleError{err}
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
	// Remove the old names of moved archives only now, because these archives may be part of this bundle.
	// Keep the names if the publication is unfinished, because the archives may not be published yet.
	if !errors.As(err, new(*publish.UnfinishedError)) {
		s.finishMoves(ctx, true)
	}
	if err != nil {
		return Report{}, s.clearAfter(ctx, err)
	}
	return report, s.store.Clear()
}

// BundleError reports that a bundle cannot be opened, for example because it is missing. Err comes
// from layoutstore.Open.
type BundleError struct{ Err error }

func (e *BundleError) Error() string { return e.Err.Error() }
func (e *BundleError) Unwrap() error { return e.Err }

// Recover completes the publication of a killed process, if there is one. It creates the store if
// it is missing. It keeps the blobs that an interrupted import has staged. If another process has
// the lock, Recover does nothing, because that process has already completed the publication.
// Errors come from the context and the file system.
func (i *Importer) Recover(ctx context.Context) error {
	if bucket.IsPlace(i.options.Store) {
		return nil // the pointer moves in one step, so a publication in a bucket is never unfinished
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
	return s.store.ClearExceptBlobs()
}

func (i *Importer) logWaiting() error {
	i.options.Log.Info("waiting for another import into the store", zap.String("store", i.options.Store))
	return nil
}

// session is one import. If the store is a directory, the session holds the store's lock.
type session struct {
	options Options
	target  target
	// Either store or bucket is nil, depending on where the store is.
	store  *publish.Store
	bucket *publish.Bucket
	begun  bool // whether Progress.Begin was called
}

// open locks the store. It creates a missing store, and completes the publication in the journal.
func (i *Importer) open(ctx context.Context, waiting func() error) (*session, error) {
	s, err := publish.Open(ctx, publish.Options{Dir: i.options.Store, Waiting: waiting, Before: i.options.Before})
	if err != nil {
		return nil, err
	}
	return &session{options: i.options, store: s, target: &directory{s, i.options}}, nil
}

// clearAfter empties staging after an import failed with err, and returns err. If the context ended
// the import, proven blobs stay in staging for the next import.
func (s *session) clearAfter(ctx context.Context, err error) error {
	switch {
	case errors.As(err, new(*publish.UnfinishedError)): // the next process needs the files in staging
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return errors.Join(err, s.store.Clear())
}
