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

// scope is the layouts of sources that are served below the same roots: all the
// sources without roots of their own are one, and each other source is one. Where
// the names of two scopes meet, the layouts of both are united.
type scope struct {
	prefix  string   // of its keys; "" for the sources without roots of their own
	roots   []string // as they are asked for, then as they are
	elected string   // root, whether or not it is one of them
	parts   []*part
	byPath  map[string][]*part
}

// key is what a snapshot finds the layouts at path by: their path, where the scope
// has no roots of its own.
func (sc *scope) key(path string) string { return sc.prefix + path }

// has says whether a key is one of the scope.
func (sc *scope) has(key string) bool {
	prefix, _, _ := strings.Cut(key, ":") // which no path holds
	if sc.prefix == "" {
		return prefix == key
	}
	return prefix+":" == sc.prefix
}

// naming finds the names of a snapshot's repositories, and what each stands for.
type naming struct {
	snapshot *Snapshot // that is being made
	options  *Options
	scopes   []*scope            // the first is of the sources without roots of their own
	order    map[*part]int       // of the union
	keys     map[string][]string // by name: of the layouts that it stands for
	parts    map[string][]*part  // by key
	ordered  []string            // the names in the order of roots and paths
}

// newNaming sorts the layouts of the sources' states by the roots they are served
// below, and gives each its names there.
func (t *Tree) newNaming(s *Snapshot, states []sourceState) *naming {
	n := &naming{snapshot: s, options: &t.options, order: map[*part]int{}, keys: map[string][]string{}, parts: map[string][]*part{}}
	n.scopes = []*scope{{roots: t.options.Roots, byPath: map[string][]*part{}}}
	for i, st := range states {
		sc := n.scopes[0]
		if own := t.sources[i].roots; len(own) > 0 {
			sc = &scope{prefix: strconv.Itoa(i) + ":", roots: own, byPath: map[string][]*part{}}
			n.scopes = append(n.scopes, sc)
		}
		for _, h := range st.volumes() {
			n.add(sc, h.parts)
		}
	}
	for _, sc := range n.scopes {
		if len(sc.parts) > 0 || len(n.scopes) == 1 { // else its roots name nothing
			n.below(sc)
		}
	}
	return n
}

// add adds layouts to a scope, all but those whose path is no repository name.
func (n *naming) add(sc *scope, parts []*part) {
	for _, p := range parts {
		sc.parts = append(sc.parts, p)
		if p.path != "." && !names.IsRepository(p.path) {
			n.snapshot.problems = append(n.snapshot.problems, p.where().problem(Problem{Kind: IllegalName, Reason: "the path is not a legal repository name"}))
			continue
		}
		n.order[p] = len(n.order)
		sc.byPath[p.path] = append(sc.byPath[p.path], p)
	}
}

// below names the layouts of a scope below each of its roots.
func (n *naming) below(sc *scope) {
	paths := slices.Sorted(maps.Keys(sc.byPath))
	for _, path := range paths {
		n.parts[sc.key(path)] = sc.byPath[path]
	}
	sc.elected = elect(sc.parts)
	sc.roots = resolveRoots(sc.roots, sc.elected)
	for _, root := range sc.roots {
		if !slices.Contains(n.snapshot.roots, root) {
			n.snapshot.roots = append(n.snapshot.roots, root)
		}
		split := n.options.split(root)
		for _, path := range paths {
			n.name(sc, split.Name(path), path)
			n.alias(split, path)
		}
	}
	if parts := sc.byPath["."]; parts != nil && !slices.ContainsFunc(sc.roots, func(root string) bool { return root != "" }) {
		n.snapshot.problems = append(n.snapshot.problems, lastPlace(parts).problem(Problem{Kind: IllegalName,
			Layout: ".", Reason: "the root layout has no name without a root: give it one with --root-repository NAME"}))
	}
}

// lastPlace is where the last of some layouts lies.
func lastPlace(parts []*part) place { return parts[len(parts)-1].where() }

// name has name stand for the layouts at path of a scope as well. Within one scope
// it stands for one path only.
func (n *naming) name(sc *scope, name, path string) {
	key := sc.key(path)
	problem := func(kind Kind, reason string) {
		n.snapshot.problems = append(n.snapshot.problems, lastPlace(n.parts[key]).problem(Problem{Kind: kind, Repository: name, Layout: path, Reason: reason}))
	}
	if name == "" {
		return
	}
	if !names.IsRepository(name) {
		problem(IllegalName, fmt.Sprintf("with its root the name is %d bytes long, more than %d", len(name), names.MaxRepository))
		return
	}
	have := n.keys[name]
	if len(have) > 0 && sc.has(have[len(have)-1]) {
		if last := have[len(have)-1]; last != key {
			problem(Conflict, fmt.Sprintf("below another root this is the name of %s, which is served", lastPlace(n.parts[last])))
		}
		return
	}
	if len(have) == 0 {
		n.ordered = append(n.ordered, name)
	}
	n.keys[name] = append(have, key)
}

// alias notes the name that older tools gave the repository of the layouts at path, or
// of an index, below a root.
func (n *naming) alias(split edition.Split, path string) {
	alias := split.Alias(path)
	if _, taken := n.snapshot.aliases[alias]; names.IsRepository(alias) && !taken {
		n.snapshot.aliases[alias] = split.Name(path)
	}
}

// dropAliases keeps the aliases that lead somewhere. What really has a name is served
// under it, and nothing else is.
func (n *naming) dropAliases() {
	maps.DeleteFunc(n.snapshot.aliases, func(alias, name string) bool { return n.keys[alias] != nil || n.keys[name] == nil })
}

// united are the layouts of some keys, in the order of their union.
func (n *naming) united(keys []string) []*part {
	if len(keys) == 1 {
		return n.parts[keys[0]]
	}
	var all []*part
	for _, key := range keys {
		all = append(all, n.parts[key]...)
	}
	slices.SortFunc(all, func(a, b *part) int { return n.order[a] - n.order[b] })
	return all
}

// owners are the repositories that own the tags of root layouts, by part. Only one with
// images of several repositories has an owner.
func (n *naming) owners(parts []*part, keys []string) []string {
	owners := make([]string, len(parts))
	for i, p := range parts {
		if p.hasSeveral() {
			owners[i] = owner(p.index.named, n.namesOf(keys), n.electedOf(p))
		}
	}
	return owners
}

// namesOf are the names that stand for some keys and no others.
func (n *naming) namesOf(keys []string) (names []string) {
	for name, have := range n.keys {
		if slices.Equal(have, keys) {
			names = append(names, name)
		}
	}
	return names
}

// electedOf is the root that a part's scope elected.
func (n *naming) electedOf(p *part) string {
	for _, sc := range n.scopes {
		if slices.Contains(sc.parts, p) {
			return sc.elected
		}
	}
	return ""
}

// owner is the one of the repositories named in a root layout that the layout belongs
// to: the one that it is served as, else the one that the tree's references elect.
// There is none where it is served as several of them: each would have the others' tags.
func owner(named, served []string, elected string) string {
	var found []string
	for _, name := range named {
		if slices.Contains(served, name) {
			found = append(found, name)
		}
	}
	switch {
	case len(found) == 1:
		return found[0]
	case len(found) == 0 && slices.Contains(named, elected):
		return elected
	}
	return ""
}

// discover finds the discovery tags of each index below each root, and names the
// indexes that are there for their sake only.
func (n *naming) discover(indexes []string) map[string][]string {
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
			n.alias(split, index)
			if n.keys[name] == nil {
				n.ordered = append(n.ordered, name)
				n.keys[name] = []string{index}
			}
		}
	}
	return found
}
