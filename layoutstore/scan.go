package layoutstore

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// scan looks at all sources and replaces the snapshot. The caller holds
// t.scanning, or is alone.
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
		s.sourceState, s.scanned = states[i], true
		if d := states[i].again; d > 0 && (again == 0 || d < again) {
			again = d
		}
	}
	old := t.snapshot.Load()
	next := t.assemble(ctx, states, old)
	change := Change{Generation: 1, Changed: true, Roots: true}
	if old != nil {
		change = next.follow(old)
	}
	change.Again = again
	next.generation, next.since = change.Generation, time.Now()
	if !change.Changed {
		next.since = old.since
	}
	t.snapshot.Store(next)
	return change, nil
}

// follow compares s with the snapshot before it.
func (s *Snapshot) follow(old *Snapshot) Change {
	roots := !slices.Equal(s.roots, old.roots)
	changed := roots || !maps.Equal(s.repos, old.repos) ||
		!slices.Equal(s.problems, old.problems) || !slices.Equal(s.sources, old.sources)
	c := Change{Generation: old.generation, Changed: changed, Roots: roots}
	if changed {
		c.Generation++
	}
	return c
}

// assemble makes a snapshot of the sources' states, and takes over from the old
// one every repository whose layouts and discovery tags are the same.
func (t *Tree) assemble(ctx context.Context, states []sourceState, old *Snapshot) *Snapshot {
	s := &Snapshot{repos: map[string]*Repository{}, aliases: map[string]string{}, byPath: map[string]*Repository{}, served: map[string]string{}, quarantine: t.quarantine}
	for _, st := range states {
		s.problems = append(s.problems, st.problems...)
		s.dirs = append(s.dirs, st.dirs...)
		for _, h := range st.volumes() {
			s.sources = append(s.sources, st.status(h))
			s.problems = append(s.problems, h.problems...)
		}
	}
	t.makeRepositories(ctx, t.newNaming(s, states), old)
	s.paths = slices.Sorted(maps.Keys(s.byPath))
	s.names = slices.Sorted(maps.Keys(s.repos))
	sortProblems(s.problems)
	return s
}

// repository takes the repository of a key from the old snapshot if it is the
// same still. What was wrong with it is looked at again: a blob that was missing may
// be there now, though no index was written.
func (t *Tree) repository(ctx context.Context, key string, parts []*part, owners, discovered []string, old *Snapshot) *Repository {
	var prev *Repository
	if old != nil {
		prev = old.byPath[key]
	}
	path := key
	if len(parts) > 0 {
		path = parts[len(parts)-1].path
	}
	if prev == nil || !slices.EqualFunc(prev.parts, parts, sameContent) || !slices.Equal(prev.owners, owners) || !slices.Equal(prev.discovery, discovered) {
		return t.newRepository(path, parts, owners, discovered)
	}
	if !prev.changed() {
		return prev
	}
	fresh := t.newRepository(path, parts, owners, discovered)
	if err := fresh.check(ctx); err != nil {
		return prev
	}
	return fresh
}

// sameContent says whether two parts stand for the same layout in the same state.
func sameContent(a, b *part) bool { return a.vol == b.vol && a.path == b.path && a.index == b.index }
