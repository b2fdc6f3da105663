package layoutstore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// newRepository makes a repository from layouts. If several have the same tag, the last wins.
func (t *Tree) newRepository(path string, layouts []*indexedLayout, owners, discovered []string) *Repository {
	r := &Repository{path: path, layouts: layouts, owners: owners, discovery: discovered, cache: t.cache, quarantine: t.quarantine, storage: t.storage}
	var all []*entry
	tags := map[string]*entry{}
	for i, p := range layouts {
		all = append(all, r.addTags(p, owners[i], tags)...)
	}
	all = append(all, r.addDiscoveryTags(discovered, tags)...)
	r.makeNodes(all, tags)
	sortProblems(r.problems)
	return r
}

// addTags adds the tags of one layout, and returns its descriptors. If several descriptors in the layout
// have the same tag, the last one wins, and no problem is reported. If an earlier layout has the tag,
// the later layout wins, and a conflict is reported if the digests differ. Images of repositories other
// than owner get no tag.
func (r *Repository) addTags(p *indexedLayout, owner string, tags map[string]*entry) []*entry {
	all := make([]*entry, len(p.index.entries))
	own := map[string]*entry{}
	for i := range p.index.entries {
		e := &p.index.entries[i]
		all[i] = e
		switch {
		case e.tag == "":
		case p.isForeign(e, owner):
			r.addProblem(p, foreignTagProblem(e, owner))
		default:
			own[e.tag] = e
		}
	}
	for tag, e := range own {
		if other := tags[tag]; other != nil && other.key != e.key {
			r.addProblem(p, Problem{Kind: Conflict, Tags: tagList(tag), Digest: e.digest(),
				Reason: fmt.Sprintf("an earlier source has this tag for %s, which is now served by digest only", other.digest())})
		}
		tags[tag] = e
	}
	for _, problem := range p.index.problems {
		r.addProblem(p, problem)
	}
	return all
}

// addDiscoveryTags adds each discovery tag, unless there is a real tag with the same name. It
// returns the descriptors of the discovery images.
func (r *Repository) addDiscoveryTags(discovered []string, tags map[string]*entry) (all []*entry) {
	var c common
	for _, name := range discovered {
		switch {
		case !names.IsTag(name):
			r.problems = appendBounded(r.problems, Problem{Kind: IllegalName, Path: r.path, Tags: tagList(name),
				Reason: "the directory's name is not a legal tag, so it has no discovery tag"})
		case tags[name] == nil:
			e := r.images.add(name, &c)
			all, tags[name] = append(all, e), e
		}
	}
	r.images.sort()
	return all
}

// makeNodes makes a node from all descriptors of each digest, and sets the node of each tag.
func (r *Repository) makeNodes(all []*entry, tags map[string]*entry) {
	slices.SortStableFunc(all, func(a, b *entry) int { return a.key.compare(b.key) })
	count := 0
	for i, e := range all {
		if i == 0 || e.key != all[i-1].key {
			count++
		}
	}
	r.top = make([]node, count)
	at := -1
	for i, e := range all {
		if i == 0 || e.key != all[i-1].key {
			at++
		}
		r.top[at].add(e)
	}
	r.tags = make([]tagged, 0, len(tags))
	for tag, e := range tags {
		n := r.topNode(e.key)
		r.tags = append(r.tags, tagged{tag, n})
		if n.tag == "" || tag < n.tag {
			n.tag = tag
		}
	}
	slices.SortFunc(r.tags, func(a, b tagged) int { return strings.Compare(a.tag, b.tag) })
}

func (r *Repository) addProblem(p *indexedLayout, problem Problem) {
	r.problems = appendBounded(r.problems, p.where().problem(problem))
}
