package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// openObjects prepares a source of objects at a place, or of one archive. It sends no requests.
func (s *source) openObjects(at bucket.Place, open func(bucket.Place) bucket.Reader) {
	var beside []string
	if base := path.Base(at.Prefix); at.Prefix != "" {
		if name, ok := volume.IsArchive(base); ok {
			s.archive = name
			at.Prefix = at.Prefix[:len(at.Prefix)-len(base)-1]
			if beside = []string{volume.IndexKey(name)}; !s.ignoreInventory {
				beside = append(beside, inventory.Name)
			}
		}
	}
	s.bucket = open(at)
	s.objects = volume.OpenObjects(s.bucket, s.archive, beside...)
}

// scanObjects scans the objects of a source in a bucket. If the bucket cannot be reached, the last
// state is still served. The error is the context's. The first scan may also return other errors.
func (s *source) scanObjects(ctx context.Context, now time.Time) (sourceState, error) {
	next, err := s.scanObjectsOnce(ctx, now)
	switch {
	case err == nil:
		return next, nil
	case ctx.Err() != nil:
		return sourceState{}, ctx.Err()
	case !s.scanned:
		return sourceState{}, fmt.Errorf("source %w", err)
	case errors.Is(err, fs.ErrNotExist):
		return s.missingState(err), nil
	}
	return s.failingState(err), nil
}

// scanObjectsOnce lists the objects of a source, and reads new and changed archives and indexes.
func (s *source) scanObjectsOnce(ctx context.Context, now time.Time) (sourceState, error) {
	found, _, err := s.objects.List(ctx)
	if err != nil {
		return sourceState{}, err
	}
	dir := found.Dir
	if _, ok := s.objects.Files()[journal.StateFile]; ok && s.archive == "" {
		return s.scanBucketStore(ctx) // the place has become a store
	}
	found = s.selectFound(found, s.archive)
	if s.archive != "" && len(found.Sets)+len(found.Problems) == 0 {
		return sourceState{}, fmt.Errorf("%s: %w", s.path, volume.ErrNoObject)
	}
	var next sourceState
	inv, err := s.readObjectInventory(ctx, dir, now)
	if next.inventory, err = s.keepInventory(&next, inv, err, now); err != nil {
		if isRefusal(err) && s.scanned {
			return s.refusedState(dir, err), nil
		}
		return sourceState{}, err
	}
	if err := s.scanArchives(ctx, &next, found, nil, now); err != nil {
		return sourceState{}, err
	}
	if s.archive == "" {
		if next.loose, err = s.scanLooseObjects(ctx); err != nil {
			return sourceState{}, err
		}
	}
	if err := s.compareInventory(&next, dir, s.archive, now); err != nil {
		return sourceState{}, err
	}
	s.keepSigned(&next)
	return next, nil
}

// scanLooseObjects reads the unpacked layouts: those whose files are objects.
func (s *source) scanLooseObjects(ctx context.Context) (*volumeState, error) {
	h := &volumeState{vol: s.objects, status: SourceStatus{Path: s.path, Kind: s.kind(), State: "ready"}}
	listing, err := s.objects.Layouts(ctx)
	if err != nil {
		return nil, err
	}
	listing.Nested = s.dropOtherSources(s.path, listing.Nested)
	return h, h.readLayouts(ctx, listing, s.last.looseOrEmpty().layouts)
}

// sourceObjects returns the objects of the source, for [Snapshot.Objects].
func (s *source) sourceObjects() SourceObjects {
	if s.archive == "" {
		return SourceObjects{s.bucket.Place(), "", s.objects}
	}
	return SourceObjects{s.bucket.Place(), s.archive, volume.OpenObjects(s.bucket, "")}
}

// readObjectInventory is like readInventory, but for a source in a bucket.
func (s *source) readObjectInventory(ctx context.Context, dir string, now time.Time) (*sourceInventory, error) {
	next := &sourceInventory{}
	if s.ignoreInventory {
		return next, nil
	}
	files := s.objects.Files()
	for _, name := range []string{inventory.Name, inventory.SignatureName} {
		o, ok := files[name]
		if !ok {
			continue
		}
		next.stamp += fmt.Sprintf("%s %d %s %d;", name, o.Size, o.ETag, o.LastModified.UnixNano())
		if o.LastModified.After(next.changed) && !o.LastModified.After(now) {
			next.changed = o.LastModified
		}
	}
	return s.verifyInventory(next, dir, func(name string, limit int64) ([]byte, error) { return s.objects.ReadObject(ctx, name, limit) })
}
