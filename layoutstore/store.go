package layoutstore

import (
	"context"
	"slices"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Between two scans of a source in which something was published meanwhile, and how
// many there are: before the state that was there is kept, before files that come and go
// without a publication are taken for what they are, and before a file that is written to
// all the time is waited for.
const (
	storePause = 20 * time.Millisecond
	storeTries = 50
	quietTries = 10
	movedTries = 3
)

// seen is what a scan goes by: the state of a store, or of a directory that a pull
// writes to.
type seen struct {
	store *journal.View
	mark  volume.Mark
}

func (s *source) see() (seen, error) {
	store, err := journal.ReadView(s.path)
	if err != nil || store != nil {
		return seen{store: store}, err
	}
	dir, _, err := s.find()
	if err != nil {
		return seen{}, nil // the scan reports it
	}
	return seen{mark: volume.MarkOf(dir)}, nil
}

// scan looks at the source anew, until nothing was published there meanwhile. The error
// is the context's, or one that [Exhausted] knows: it says nothing of the source.
func (s *source) scan(ctx context.Context, now time.Time) (sourceState, error) {
	scanned := *s // what the scans before this one found, also one that is not good enough
	for try := 0; ; try++ {
		before, err := s.see()
		switch {
		case IsExhausted(err):
			return sourceState{}, err
		case err != nil:
			return s.failing(err), nil
		}
		next, err := scanned.look(ctx, now, before.store)
		if err != nil {
			return sourceState{}, err
		}
		after, err := s.see()
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
		if same && next.failed == nil { // what was read need not be read again
			scanned.last.archives = slices.DeleteFunc(slices.Clone(next.archives), func(h *held) bool { return h.moved })
		}
		select {
		case <-time.After(storePause):
		case <-ctx.Done():
			return sourceState{}, ctx.Err()
		}
	}
}

// acceptsMove reports whether a scan is good enough although a file was replaced, or its
// links changed, during it. In a directory someone may write to a file all the time, and
// the rest has to be served. In a store only an import moves files, and while it does so
// an archive can be between its two names: what an earlier scan found is served then.
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

// moved says whether a file changed between two steps of the look.
func (st *sourceState) moved() bool {
	return slices.ContainsFunc(st.volumes(), func(h *held) bool { return h.moved })
}

// visibleArchives are those to be read of what is in the directory: without any that is
// being published.
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

// visibleLayouts are those to be read of the loose tree: while an import is being
// published as they were before it.
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
			// Never a settled stamp: the file that is there now may be the new one.
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
