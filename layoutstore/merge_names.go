package layoutstore

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// scope is a set of layouts that are served below the same roots. Each source with roots of its own
// is a scope. All other sources together are one scope. Layouts of different scopes are merged if
// they have the same name.
type scope struct {
	prefix  string   // begins each key of the scope: "NUMBER:", or "" for sources without their own roots
	roots   []string // as configured; later with the elected root instead of AutoRoot, and without duplicates
	elected string   // the elected root, even if it is not one of roots
	layouts []*indexedLayout
	byPath  map[string][]*indexedLayout
}

// key returns the key that the layouts at path have in a snapshot.
func (sc *scope) key(path string) string { return sc.prefix + path }

// hasKey reports whether a key belongs to the scope. Prefixes end with a colon; paths have none.
func (sc *scope) hasKey(key string) bool { return key[:strings.Index(key, ":")+1] == sc.prefix }

// naming maps the names of repositories in a snapshot to their layouts.
type naming struct {
	snapshot *Snapshot // the snapshot that is being made
	options  *Options
	scopes   []*scope                    // the first scope has the sources without their own roots
	order    map[*indexedLayout]int      // position of each layout in the merge order
	keys     map[string][]string         // keys of the layouts that have a name, by name
	layouts  map[string][]*indexedLayout // layouts, by key
	ordered  []string                    // the names, ordered by root, then by path
}

// newNaming groups the layouts of all sources into scopes, and names the layouts of each scope.
func (t *Tree) newNaming(s *Snapshot, states []sourceState) *naming {
	n := &naming{snapshot: s, options: &t.options, order: map[*indexedLayout]int{}, keys: map[string][]string{}, layouts: map[string][]*indexedLayout{}}
	n.scopes = []*scope{{roots: t.options.Roots, byPath: map[string][]*indexedLayout{}}}
	for i, st := range states {
		sc := n.scopes[0]
		if own := t.sources[i].roots; len(own) > 0 {
			sc = &scope{prefix: strconv.Itoa(i) + ":", roots: own, byPath: map[string][]*indexedLayout{}}
			n.scopes = append(n.scopes, sc)
		}
		for _, h := range st.volumes() {
			n.add(sc, st.served(h))
		}
	}
	for _, sc := range n.scopes {
		if len(sc.layouts) > 0 || len(n.scopes) == 1 { // a scope without layouts serves nothing below its roots
			n.nameLayouts(sc)
		}
	}
	return n
}

// add adds layouts to a scope. Those with an illegal path get a problem, not a name, but still vote.
func (n *naming) add(sc *scope, layouts []*indexedLayout) {
	for _, p := range layouts {
		sc.layouts = append(sc.layouts, p)
		if p.path != "." && !names.IsRepository(p.path) {
			n.snapshot.problems = append(n.snapshot.problems, p.where().problem(Problem{Kind: IllegalName, Reason: "the path is not a legal repository name"}))
			continue
		}
		n.order[p] = len(n.order)
		sc.byPath[p.path] = append(sc.byPath[p.path], p)
	}
}

// nameLayouts gives each layout of a scope a name below each root of the scope.
func (n *naming) nameLayouts(sc *scope) {
	paths := slices.Sorted(maps.Keys(sc.byPath))
	for _, path := range paths {
		n.layouts[sc.key(path)] = sc.byPath[path]
	}
	sc.elected = electRoot(sc.layouts)
	sc.roots = resolveRoots(sc.roots, sc.elected)
	for _, root := range sc.roots {
		if !slices.Contains(n.snapshot.roots, root) {
			n.snapshot.roots = append(n.snapshot.roots, root)
		}
		split := n.options.split(root)
		for _, path := range paths {
			n.addName(sc, split.Name(path), path)
			n.addAlias(split, path)
		}
	}
	if layouts := sc.byPath["."]; layouts != nil && !slices.ContainsFunc(sc.roots, func(root string) bool { return root != "" }) {
		n.snapshot.problems = append(n.snapshot.problems, lastPlace(layouts).problem(Problem{Kind: IllegalName,
			Layout: ".", Reason: "the root layout has no name without a root: give it one with --root-repository NAME"}))
	}
}

// lastPlace returns the place of the last layout in the list.
func lastPlace(layouts []*indexedLayout) place { return layouts[len(layouts)-1].where() }

// addName adds the layouts of a scope at path to a name. If several paths of a scope have the same
// name, only the first path is served.
func (n *naming) addName(sc *scope, name, path string) {
	key := sc.key(path)
	problem := func(kind Kind, reason string) {
		n.snapshot.problems = append(n.snapshot.problems, lastPlace(n.layouts[key]).problem(Problem{Kind: kind, Repository: name, Layout: path, Reason: reason}))
	}
	if name == "" {
		return
	}
	if !names.IsRepository(name) {
		problem(IllegalName, fmt.Sprintf("with its root the name is %d bytes long, more than %d", len(name), names.MaxRepository))
		return
	}
	have := n.keys[name]
	if len(have) > 0 && sc.hasKey(have[len(have)-1]) {
		if last := have[len(have)-1]; last != key {
			problem(Conflict, fmt.Sprintf("below a different root, %s has the same name, and is served instead", lastPlace(n.layouts[last])))
		}
		return
	}
	if len(have) == 0 {
		n.ordered = append(n.ordered, name)
	}
	n.keys[name] = append(have, key)
}

// addAlias records an alias: the name that older tools gave to the repository at path.
func (n *naming) addAlias(split edition.Split, path string) {
	alias := split.Alias(path)
	if _, taken := n.snapshot.aliases[alias]; names.IsRepository(alias) && !taken {
		n.snapshot.aliases[alias] = split.Name(path)
	}
}

// dropAliases removes aliases of missing repositories, and aliases that are also names.
func (n *naming) dropAliases() {
	maps.DeleteFunc(n.snapshot.aliases, func(alias, name string) bool { return n.keys[alias] != nil || n.keys[name] == nil })
}

// uniteLayouts returns the layouts that have one of the keys, in merge order.
func (n *naming) uniteLayouts(keys []string) []*indexedLayout {
	if len(keys) == 1 {
		return n.layouts[keys[0]]
	}
	var all []*indexedLayout
	for _, key := range keys {
		all = append(all, n.layouts[key]...)
	}
	slices.SortFunc(all, func(a, b *indexedLayout) int { return n.order[a] - n.order[b] })
	return all
}

// findOwners returns the owner of each layout (see [findOwner]), or "" if it has none. Only a layout at
// "." with images of several repositories may have an owner.
func (n *naming) findOwners(layouts []*indexedLayout, keys []string) []string {
	owners := make([]string, len(layouts))
	for i, p := range layouts {
		if p.hasSeveral() {
			isName := func(name string) bool { return slices.Equal(n.keys[name], keys) }
			owners[i] = findOwner(p.index.named, isName, n.electedOf(p))
		}
	}
	return owners
}

// electedOf returns the elected root of the scope that contains a layout.
func (n *naming) electedOf(p *indexedLayout) string {
	for _, sc := range n.scopes {
		if slices.Contains(sc.layouts, p) {
			return sc.elected
		}
	}
	return ""
}

// findOwner returns the owner of a root layout: the repository whose tags are served. named are the
// repositories in the layout's references. If the layout is served under exactly one of these
// names, that name is the owner. If it is served under none, but named contains the elected root,
// that root is the owner. Otherwise there is no owner, and the result is "".
func findOwner(named []string, isName func(string) bool, elected string) string {
	found := slices.DeleteFunc(slices.Clone(named), func(name string) bool { return !isName(name) })
	switch {
	case len(found) == 1:
		return found[0]
	case len(found) == 0 && slices.Contains(named, elected):
		return elected
	}
	return ""
}

// findDiscoveryTags returns the discovery tags below all roots, by the name of the repository with
// these tags. It also adds the names of these repositories, and their aliases, to n.
func (n *naming) findDiscoveryTags(indexes []string) map[string][]string {
	found := map[string][]string{}
	names := slices.Clone(n.ordered)
	for _, root := range n.snapshot.roots {
		for _, index := range indexes {
			split := n.options.split(root)
			name := split.Name(index)
			tags := discovery.Names(name, names)
			if len(tags) == 0 {
				continue
			}
			found[name] = tags
			n.addAlias(split, index)
			if n.keys[name] == nil {
				n.ordered = append(n.ordered, name)
				n.keys[name] = []string{index}
			}
		}
	}
	return found
}
