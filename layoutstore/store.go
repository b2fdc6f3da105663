package layoutstore

import (
	"context"
	"slices"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

const (
	storePause = 20 * time.Millisecond // before another scan, if something was published during a scan
	storeTries = 50                    // after so many rejected scans, the old state is kept
	quietTries = 10                    // after so many scans, files may come and go without a publication during an accepted scan
	movedTries = 3                     // after so many scans, files in a directory may change during an accepted scan
)

// publicationState is the state of a publication in a store, or in a directory that a pull
// writes to.
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
		return publicationState{}, nil // the scan reports it
	}
	return publicationState{mark: volume.MarkOf(dir)}, nil
}

// scan scans the source, and repeats that if something was published meanwhile. The error is the
// context's, or one for which [IsExhausted] is true, and not about the source.
func (s *source) scan(ctx context.Context, now time.Time) (sourceState, error) {
	if s.bucket != nil {
		return s.scanBucket(ctx, now)
	}
	scanned := *s // keeps the results of rejected scans, too
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
		if same && next.failed == nil { // so that unchanged archives are not read again
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
// changed. In a directory somebody may write to a file all the time, and the other files must
// be served. In a store only an import moves files, and an archive may have neither its old
// nor its new name for a moment: then the result of an earlier scan is served.
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

// moved reports whether a file changed during the scan.
func (st *sourceState) moved() bool {
	return slices.ContainsFunc(st.volumes(), func(h *volumeState) bool { return h.moved })
}

// visibleArchives removes the archives that are being published.
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

// visibleLayouts returns the unpacked layouts. During the publication of an import, it returns
// their state before the import.
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
			// This stamp is not settled, because the file may already be the new one.
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
