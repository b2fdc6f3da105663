package layoutstore

import (
	"context"
	"slices"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

const (
	storePause = 20 * time.Millisecond // pause before a scan is repeated
	storeTries = 50                    // number of rejected scans after which the old state is kept
	quietTries = 10                    // number of scans after which one is accepted although files came or went
	movedTries = 3                     // number of scans of a directory after which one is accepted although files changed
)

// publicationState is the state of a publication by an import or a pull.
type publicationState struct {
	store *journal.View
	mark  volume.Mark
}

func (s *source) readState() (publicationState, error) {
	store, err := journal.ReadView(s.path)
	if err != nil || store != nil {
		return publicationState{store: store}, err
	}
	dir, _, err := s.findDirectory()
	if err != nil {
		return publicationState{}, nil // the scan reports the error
	}
	return publicationState{mark: volume.MarkOf(dir)}, nil
}

// scan scans the source. If something was published during the scan, it scans again. The error is the
// context's, one for which [IsExhausted] is true or, at the first scan, one about the source.
func (s *source) scan(ctx context.Context, now time.Time) (sourceState, error) {
	if s.bucket != nil {
		return s.scanBucket(ctx, now)
	}
	scanned := *s // a copy that also keeps the results of rejected scans
	for try := 0; ; try++ {
		before, err := s.readState()
		switch {
		case IsExhausted(err):
			return sourceState{}, err
		case err != nil:
			return s.failingState(err), nil
		}
		next, err := scanned.scanOnce(ctx, now, before.store)
		if err != nil {
			return sourceState{}, err
		}
		after, err := s.readState()
		same := err == nil && before.store.Same(after.store) && before.mark.Same(after.mark)
		quiet := before.mark.Quiet(after.mark) || try >= quietTries
		if same && quiet && acceptsMove(next.moved(), before.store != nil, s.scanned, try) {
			return next, nil
		}
		if try >= storeTries && s.scanned {
			next = s.last
			next.again = time.Second
			return next, nil
		}
		if same && next.failed == nil { // do not read unchanged archives again
			scanned.last.archives = slices.DeleteFunc(slices.Clone(next.archives), func(h *volumeState) bool { return h.moved })
		}
		select {
		case <-time.After(storePause):
		case <-ctx.Done():
			return sourceState{}, ctx.Err()
		}
	}
}

// acceptsMove reports whether to accept a scan during which a file was replaced or its links
// changed. A directory is accepted after some tries: if a file changes all the time, the other
// files must be served. In a store, only an import moves files, and an archive may have neither its
// old nor its new name for a moment. So the result of an earlier scan is served.
func acceptsMove(moved, store, scanned bool, try int) bool {
	switch {
	case !moved:
		return true
	case !store:
		return try >= movedTries
	default:
		return !scanned && try >= storeTries
	}
}

// moved reports whether a file of a volume was replaced, or its links changed, during the scan.
func (st *sourceState) moved() bool {
	return slices.ContainsFunc(st.volumes(), func(h *volumeState) bool { return h.moved })
}

// visibleArchives removes the archives whose publication is not complete.
func visibleArchives(v *journal.View, found volume.Found) volume.Found {
	if v == nil {
		return found
	}
	found.Sets = slices.DeleteFunc(slices.Clone(found.Sets), func(set volume.Set) bool { return v.Hides(set.Name) })
	found.Problems = slices.DeleteFunc(slices.Clone(found.Problems), func(p Problem) bool {
		name, _ := volume.IsArchive(p.Path)
		return v.Hides(name)
	})
	for i := range found.Sets {
		found.Sets[i].As, _ = v.PackedAs(found.Sets[i].Name)
	}
	return found
}

// visibleLayouts returns the listing of unpacked layouts. While an import is being published, it
// returns the layouts as they were before the import.
func visibleLayouts(v *journal.View, listing volume.Listing) volume.Listing {
	if !v.Publishing() {
		return listing
	}
	var layouts []volume.Layout
	for _, l := range listing.Layouts {
		if old, ok := v.OldIndex(l.Path); ok {
			if old == nil {
				continue
			}
			// Do not mark the stamp as settled, because the file may already have its new content.
			l.Index, l.Stamp = old, volume.Stamp{ID: "journal"}
		}
		layouts = append(layouts, l)
	}
	listing.Layouts = layouts
	listing.Problems = slices.DeleteFunc(slices.Clone(listing.Problems), func(p Problem) bool {
		old, ok := v.OldIndex(p.Path)
		return ok && old == nil
	})
	return listing
}
