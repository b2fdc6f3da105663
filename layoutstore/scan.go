package layoutstore

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// scan scans all sources and replaces the snapshot. Callers hold t.scanning, unless t is new.
func (t *Tree) scan(ctx context.Context) (Change, error) {
	states := make([]sourceState, len(t.sources))
	now := time.Now()
	group, scanCtx := errgroup.WithContext(ctx)
	for i, s := range t.sources {
		group.Go(func() (err error) {
			states[i], err = s.scan(scanCtx, now)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Change{}, err
	}
	var again time.Duration
	for i, s := range t.sources {
		s.last, s.scanned = states[i], true
		again = sooner(again, states[i].again)
	}
	old := t.snapshot.Load()
	next := t.assemble(ctx, states, old)
	change := Change{Generation: 1, Changed: true, Roots: true}
	if old != nil {
		change = next.compare(old)
	}
	change.Again = again
	next.generation, next.since = change.Generation, time.Now()
	if !change.Changed {
		next.since = old.since
	}
	t.snapshot.Store(next)
	return change, nil
}

// sooner returns the shorter of two times to wait. 0 means that there is nothing to wait for.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// compare returns how s differs from old, the snapshot before it.
func (s *Snapshot) compare(old *Snapshot) Change {
	roots := !slices.Equal(s.roots, old.roots)
	changed := roots || !maps.Equal(s.repos, old.repos) ||
		!slices.EqualFunc(s.problems, old.problems, Problem.Equal) || !slices.Equal(s.sources, old.sources)
	c := Change{Generation: old.generation, Changed: changed, Roots: roots}
	if changed {
		c.Generation++
	}
	return c
}
