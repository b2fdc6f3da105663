package verify

import (
	"cmp"
	"maps"
	"path/filepath"
	"slices"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Limits of a report. Its counts also include entries that its lists omit.
const (
	maxListed = 1000 // maximum entries per list, and maximum problems of all causes together

	maxTags = 1000 // maximum tags per problem
)

// first counts all entries that are added. It keeps only those that come first in the order of
// compare. It never has more than twice the limit in memory.
type first[T any] struct {
	limit   int
	compare func(a, b T) int
	total   int
	items   []T
	full    bool // whether entries after last are dropped, because the limit was reached
	last    T
}

func newFirst[T any](compare func(a, b T) int) *first[T] {
	return &first[T]{limit: maxListed, compare: compare}
}

// add counts x, and keeps it if it may be one of the first entries. pruned reports whether other entries were
// dropped.
func (f *first[T]) add(x T) (pruned bool) {
	f.total++
	if f.full && f.compare(x, f.last) > 0 {
		return false
	}
	f.items = append(f.items, x)
	if len(f.items) < 2*f.limit {
		return false
	}
	f.sorted()
	return true
}

func (f *first[T]) sorted() []T {
	slices.SortFunc(f.items, f.compare)
	if len(f.items) >= f.limit {
		clear(f.items[f.limit:])
		f.items = f.items[:f.limit]
		f.full, f.last = true, f.items[f.limit-1]
	}
	return f.items
}

// omitted returns how many entries were counted but not kept.
func (f *first[T]) omitted() int { return f.total - len(f.sorted()) }

type tag struct{ repository, tag string }

type causeKey struct {
	kind         layoutstore.Kind
	path, reason string
}

func compareCauses(a, b causeKey) int {
	return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.kind, b.kind), cmp.Compare(a.reason, b.reason))
}

type caused struct {
	by      causeKey
	problem layoutstore.Problem
}

func compareCaused(a, b caused) int {
	return cmp.Or(compareCauses(a.by, b.by), problem.Compare(a.problem, b.problem))
}

// causes groups problems by cause. It keeps only the first problems, sorted by cause and then by problem,
// because each blob may have its own cause. The counts of every listed cause are exact: if all problems of
// a cause were dropped, the cause is never listed again.
type causes struct {
	first    *first[caused]
	tallies  map[causeKey]*tally
	archives map[string]string // reasons why archives are incomplete, by the archive's path

	// repeated has problems of the scan. Such a problem is listed only if add is not called with the same
	// statement.
	repeated map[statement]layoutstore.Problem
	tags     map[tag]int32 // number that is assigned to each affected tag

	seen map[tagList]bool // long lists of tags that already have numbers
}

// tagList identifies a list of tags by its repository and its address in memory.
type tagList struct {
	repository string
	first      *string
	length     int
}

// statement is the place and the reason of a problem.
type statement struct{ path, entry, reason string }

type tally struct {
	alone bool // whether the cause is listed even without problems
	count int
	one   []string // list of tags that all problems share; nil once they have different lists

	tags map[int32]bool // numbers of the affected tags; nil while all problems share one list

	repositories map[string]bool // repositories with affected tags
}

// newCauses returns the causes of the problems that the scan of the tree has found.
func newCauses(problems []layoutstore.Problem) *causes {
	f := &causes{first: newFirst(compareCaused), tallies: map[causeKey]*tally{}, archives: map[string]string{},
		repeated: map[statement]layoutstore.Problem{}, tags: map[tag]int32{}, seen: map[tagList]bool{}}
	for _, p := range problems { // archives come first, because the causes of other problems depend on them
		if isOfArchive(p) {
			f.archives[p.Path] = p.Reason
			f.tally(causeKey{p.Kind, p.Path, p.Reason}).alone = true
		}
	}
	for _, p := range problems {
		switch {
		case !p.IsFailure() || isOfArchive(p):
		case p.Digest == "":
			if key := (statement{p.Path, p.Entry, p.Reason}); f.repeated[key].Reason == "" {
				f.repeated[key] = p
			}
		default:
			f.add(p)
		}
	}
	return f
}

// isOfArchive reports whether a problem is that an archive, or a layout outside of archives, is
// incomplete. For a problem of a single entry or repository, it returns false.
func isOfArchive(p layoutstore.Problem) bool {
	return p.IsFailure() && p.Kind == layoutstore.Incomplete && p.Entry == "" && p.Repository == ""
}

func (f *causes) tally(key causeKey) *tally {
	t := f.tallies[key]
	if t == nil {
		t = &tally{}
		f.tallies[key] = t
	}
	return t
}

// add adds a problem to its cause. If content is missing from an incomplete archive, the cause is that the
// archive is incomplete.
func (f *causes) add(p layoutstore.Problem) {
	delete(f.repeated, statement{p.Path, p.Entry, p.Reason})
	key := causeKey{p.Kind, container(p), p.Reason}
	if reason, ok := f.archives[key.path]; ok && p.Kind == layoutstore.Incomplete {
		key.reason = reason
	}
	f.numberTags(p)
	f.tally(key).add(f, p)
	switch full := f.first.full; {
	case f.first.add(caused{key, p.Bounded(maxTags)}):
		f.forgetUnlisted()
	case full && !f.tallies[key].alone && compareCauses(key, f.first.last.by) > 0:
		delete(f.tallies, key)
	}
}

// numberTags assigns numbers to the tags of a problem. Problems in the graph of one manifest share a list of
// tags, so a long list is processed only once.
func (f *causes) numberTags(p layoutstore.Problem) {
	if len(p.Tags) > 16 {
		list := tagList{p.Repository, &p.Tags[0], len(p.Tags)}
		if f.seen[list] {
			return
		}
		f.seen[list] = true
	}
	for _, t := range p.Tags {
		if key := (tag{p.Repository, t}); f.tags[key] == 0 {
			f.tags[key] = int32(len(f.tags) + 1)
		}
	}
}

// forgetUnlisted drops the counts of causes that are no longer listed.
func (f *causes) forgetUnlisted() {
	listed := make(map[causeKey]bool, len(f.first.items))
	for _, x := range f.first.items {
		listed[x.by] = true
	}
	maps.DeleteFunc(f.tallies, func(key causeKey, t *tally) bool { return !t.alone && !listed[key] })
}

func (t *tally) add(f *causes, p layoutstore.Problem) {
	t.count++
	if len(p.Tags) == 0 {
		return
	}
	if t.repositories == nil {
		t.repositories = map[string]bool{}
	}
	if t.one == nil && t.tags == nil {
		t.one, t.repositories[p.Repository] = p.Tags, true
		return
	}
	if t.one != nil {
		if t.repositories[p.Repository] && len(t.one) == len(p.Tags) && &t.one[0] == &p.Tags[0] {
			return
		}
		t.tags = map[int32]bool{}
		for repository := range t.repositories { // this map has exactly one key
			t.addTags(f, repository, t.one)
		}
		t.one = nil
	}
	t.addTags(f, p.Repository, p.Tags)
}

func (t *tally) addTags(f *causes, repository string, tags []string) {
	t.repositories[repository] = true
	for _, name := range tags {
		t.tags[f.tags[tag{repository, name}]] = true
	}
}

// container returns where the content of a problem is stored: the path of an archive, or of a layout in a
// directory or bucket.
func container(p layoutstore.Problem) string {
	if layout, d, ok := names.ParseBlobPath(filepath.ToSlash(p.Path)); ok && p.Entry == "" && d == p.Digest {
		return volume.CleanPath(layout)
	}
	return p.Path
}

func (f *causes) report(r *Report) {
	for _, p := range f.repeated {
		f.add(p)
	}
	listed := map[causeKey][]layoutstore.Problem{}
	for _, x := range f.first.sorted() {
		listed[x.by] = append(listed[x.by], x.problem)
	}
	for key, t := range f.tallies {
		problems := listed[key]
		if len(problems) == 0 {
			if !t.alone {
				continue
			}
			problems = []layoutstore.Problem{}
		}
		r.Causes = append(r.Causes, Cause{Kind: key.kind, Path: key.path, Reason: key.reason,
			Tags: max(len(t.one), len(t.tags)), Repositories: len(t.repositories), Count: t.count, Problems: problems})
	}
	slices.SortFunc(r.Causes, func(a, b Cause) int {
		return compareCauses(causeKey{a.Kind, a.Path, a.Reason}, causeKey{b.Kind, b.Path, b.Reason})
	})
	r.TagsAffected, r.Omitted.Problems = len(f.tags), f.first.omitted()
	for t := range f.tags {
		if !names.IsTag(t.tag) {
			r.illegal++
		}
	}
}
