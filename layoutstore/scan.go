package layoutstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
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
	s := &Snapshot{repos: map[string]*Repository{}, byPath: map[string]*Repository{}}
	var all []*part
	byPath := map[string][]*part{}
	for _, st := range states {
		s.problems = append(s.problems, st.problems...)
		s.dirs = append(s.dirs, st.dirs...)
		for _, h := range st.volumes() {
			s.sources = append(s.sources, h.status)
			s.problems = append(s.problems, h.problems...)
			all = append(all, h.parts...)
		}
	}
	all = slices.DeleteFunc(all, func(p *part) bool {
		if p.path == "." || ValidName(p.path) {
			return false
		}
		s.problems = append(s.problems, p.where().problem(Problem{Kind: IllegalName, Reason: "the path is not a legal repository name"}))
		return true
	})
	for _, p := range all {
		byPath[p.path] = append(byPath[p.path], p)
	}
	s.roots = resolveRoots(t.options.Roots, all)
	discovered := t.discover(byPath)
	s.paths = slices.Sorted(maps.Keys(byPath))
	for _, path := range s.paths {
		s.byPath[path] = t.repository(ctx, path, byPath[path], discovered[path], old)
	}
	s.nameAll()
	sortProblems(s.problems)
	return s
}

// discover finds the discovery tags of the tree, and adds the repositories that
// are there for their sake only.
func (t *Tree) discover(byPath map[string][]*part) map[string][]string {
	paths := slices.Collect(maps.Keys(byPath))
	found := map[string][]string{}
	for _, index := range t.options.Indexes {
		if names := discovery.Names(index, paths); len(names) > 0 {
			found[index] = names
			byPath[index] = append([]*part(nil), byPath[index]...)
		}
	}
	return found
}

// repository takes the repository at path from the old snapshot if it is the
// same still. What was wrong with it is looked at again: a blob that was missing may
// be there now, though no index was written.
func (t *Tree) repository(ctx context.Context, path string, parts []*part, discovered []string, old *Snapshot) *Repository {
	var prev *Repository
	if old != nil {
		prev = old.byPath[path]
	}
	if prev == nil || !slices.EqualFunc(prev.parts, parts, sameContent) || !slices.Equal(prev.discovery, discovered) {
		return newRepository(path, parts, discovered, t.cache)
	}
	if !prev.changed() {
		return prev
	}
	fresh := newRepository(path, parts, discovered, t.cache)
	if err := fresh.check(ctx); err != nil {
		return prev
	}
	return fresh
}

// sameContent says whether two parts stand for the same layout in the same state.
func sameContent(a, b *part) bool { return a.vol == b.vol && a.path == b.path && a.index == b.index }

// nameAll gives each repository its name below each root.
func (s *Snapshot) nameAll() {
	for _, root := range s.roots {
		for _, path := range s.paths {
			s.name(underRoot(root, path), path)
		}
	}
	if r := s.byPath["."]; r != nil && !slices.ContainsFunc(s.roots, func(root string) bool { return root != "" }) {
		s.problems = append(s.problems, r.where().problem(Problem{Kind: IllegalName,
			Reason: "the root layout has no name without a root: give it one with --root-repository NAME"}))
	}
	s.names = slices.Sorted(maps.Keys(s.repos))
	for _, r := range s.repos {
		s.tags += len(r.tags)
	}
}

func (s *Snapshot) name(name, path string) {
	switch other := s.repos[name]; {
	case name == "":
	case !ValidName(name):
		s.problems = append(s.problems, s.byPath[path].where().problem(Problem{Kind: IllegalName, Repository: name,
			Reason: fmt.Sprintf("with its root the name is %d bytes long, more than %d", len(name), maxName)}))
	case other != nil && other.path != path:
		s.problems = append(s.problems, s.byPath[path].where().problem(Problem{Kind: Conflict, Repository: name,
			Reason: fmt.Sprintf("below another root this is the name of %s, which is served", other.where())}))
	default:
		s.repos[name] = s.byPath[path]
	}
}
