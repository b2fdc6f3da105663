package layoutstore

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// assemble makes a snapshot from the states of the sources. It reuses those repositories of the old
// snapshot whose layouts and discovery tags are unchanged.
func (t *Tree) assemble(ctx context.Context, states []sourceState, old *Snapshot) *Snapshot {
	s := &Snapshot{repos: map[string]*Repository{}, aliases: map[string]string{}, byPath: map[string]*Repository{}, served: map[string]string{}, quarantine: t.quarantine}
	for i, st := range states {
		if from := t.sources[i]; from.bucket != nil {
			s.places = append(s.places, from.bucket.Place())
		}
		if from := t.sources[i]; from.bucket != nil && st.generation == "" && !from.store {
			s.objects = append(s.objects, from.sourceObjects())
		}
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
	s.hiding = hiding(s.problems)
	return s
}

// repository returns the repository with a key. It reuses the repository of the old snapshot if its
// layouts and problems are unchanged. Problems matter, because a missing blob may arrive without a
// change of the index.
func (t *Tree) repository(ctx context.Context, key string, layouts []*indexedLayout, owners, discovered []string, old *Snapshot) *Repository {
	var prev *Repository
	if old != nil {
		prev = old.byPath[key]
	}
	path := key
	if len(layouts) > 0 {
		path = layouts[len(layouts)-1].path
	}
	if prev == nil || !slices.EqualFunc(prev.layouts, layouts, sameContent) || !slices.Equal(prev.owners, owners) || !slices.Equal(prev.discovery, discovered) {
		return t.newRepository(path, layouts, owners, discovered)
	}
	if changed, err := prev.isOutdated(ctx); err != nil || !changed {
		return prev
	}
	fresh := t.newRepository(path, layouts, owners, discovered)
	if err := fresh.check(ctx); err != nil {
		return prev
	}
	return fresh
}

// sameContent reports whether a and b are the same layout in the same state.
func sameContent(a, b *indexedLayout) bool {
	return a.vol == b.vol && a.path == b.path && a.index == b.index && a.trust == b.trust
}

// makeRepositories makes the repositories of the snapshot. Names with the same layouts and
// discovery tags share a repository.
func (t *Tree) makeRepositories(ctx context.Context, n *naming, old *Snapshot) {
	discovered := n.findDiscoveryTags(t.options.Indexes)
	n.dropAliases()
	tags := map[string][]string{} // discovery tags, by key
	for _, name := range n.ordered {
		keys := n.keys[name]
		key := strings.Join(keys, "+")
		if have, made := tags[key]; made && !slices.Equal(have, discovered[name]) {
			key += "@" + name // a different name of the same layouts has different discovery tags
		}
		if n.snapshot.byPath[key] == nil {
			tags[key] = discovered[name]
			layouts := n.uniteLayouts(keys)
			n.snapshot.byPath[key] = t.repository(ctx, key, layouts, n.findOwners(layouts, keys), discovered[name], old)
			n.snapshot.served[key] = name
		}
		n.snapshot.repos[name] = n.snapshot.byPath[key]
		n.snapshot.tags += len(n.snapshot.byPath[key].tags)
	}
	for _, keys := range n.keys {
		for _, key := range keys {
			delete(n.layouts, key)
		}
	}
	// Layouts without a name also get a repository, which reports their problems.
	for key, layouts := range n.layouts {
		n.snapshot.byPath[key] = t.repository(ctx, key, layouts, n.findOwners(layouts, []string{key}), nil, old)
	}
}
