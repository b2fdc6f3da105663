package verify

import (
	"cmp"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Bounds of a report. Its counts are exact whatever is left out of its lists.
const (
	maxListed = 1000 // entries of one list, and gaps of all causes together
	maxTags   = 1000 // tags of one gap
)

// first keeps the first entries of a list in an order, however many are added in any
// order, and counts all. It holds at most twice the limit.
type first[T any] struct {
	limit   int
	compare func(a, b T) int
	total   int
	items   []T
	full    bool // the limit was reached: items[limit-1] was the last of the first ones
	last    T
}

func newFirst[T any](compare func(a, b T) int) *first[T] {
	return &first[T]{limit: maxListed, compare: compare}
}

// add counts x and keeps it if it may be one of the first. pruned says that others were
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

// sorted are the first entries in their order.
func (f *first[T]) sorted() []T {
	slices.SortFunc(f.items, f.compare)
	if len(f.items) >= f.limit {
		clear(f.items[f.limit:])
		f.items = f.items[:f.limit]
		f.full, f.last = true, f.items[f.limit-1]
	}
	return f.items
}

// omitted is how many entries are not among the first.
func (f *first[T]) omitted() int { return f.total - len(f.sorted()) }

// tag is a tag of a repository.
type tag struct{ repository, tag string }

type causeKey struct {
	kind         layoutstore.Kind
	path, reason string
}

func compareCauses(a, b causeKey) int {
	return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.kind, b.kind), cmp.Compare(a.reason, b.reason))
}

func compareGaps(a, b layoutstore.Gap) int {
	return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.Repository, b.Repository),
		slices.Compare(a.Tags, b.Tags), cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Reason, b.Reason))
}

// finding is a gap and the cause that it is listed under.
type finding struct {
	cause causeKey
	gap   layoutstore.Gap
}

func compareFindings(a, b finding) int {
	return cmp.Or(compareCauses(a.cause, b.cause), compareGaps(a.gap, b.gap))
}

// findings groups gaps by their causes, of which there may be as many as blobs. It keeps
// the first gaps in the order of causes, then gaps: so a cause that lost its last gap
// never gets one of the first again, and the counts of every listed cause are exact.
type findings struct {
	first    *first[finding]
	causes   map[causeKey]*tally
	troubles map[string]string // why an archive is not whole, by its path
	// repeated are problems of the scan that are listed only if no gap says the same.
	repeated map[said]layoutstore.Problem
	tags     map[tag]int32    // numbers of the tags that a gap takes
	seen     map[tagList]bool // long lists of tags that have all their numbers
}

// tagList identifies a list of tags of a repository by where it is stored.
type tagList struct {
	repository string
	first      *string
	length     int
}

// said is what a gap or a problem says, and of what.
type said struct{ path, entry, reason string }

// tally counts the gaps of a cause and what they take.
type tally struct {
	alone        bool // listed without any gap as well
	count        int
	one          []string // the tags, as long as all gaps have the same list
	tags         map[int32]bool
	repositories map[string]bool // of tags
}

// newFindings begins with what the scan of the tree found.
func newFindings(problems []layoutstore.Problem) *findings {
	f := &findings{first: newFirst(compareFindings), causes: map[causeKey]*tally{}, troubles: map[string]string{},
		repeated: map[said]layoutstore.Problem{}, tags: map[tag]int32{}, seen: map[tagList]bool{}}
	for _, p := range problems { // before the first gap: the causes of gaps follow from it
		if isTrouble(p) {
			f.troubles[p.Path] = p.Reason
			f.tally(causeKey{p.Kind, p.Path, p.Reason}).alone = true
		}
	}
	for _, p := range problems {
		switch {
		case !p.IsFailure() || isTrouble(p):
		case p.Digest == "":
			if key := (said{p.Path, p.Entry, p.Reason}); f.repeated[key].Reason == "" {
				f.repeated[key] = p
			}
		default:
			f.add(gapOf(p))
		}
	}
	return f
}

// isTrouble reports whether a problem is that of an archive as a rule, and not of one of
// its entries.
func isTrouble(p layoutstore.Problem) bool {
	return p.IsFailure() && p.Kind == layoutstore.Incomplete && p.Entry == "" && p.Repository == ""
}

// gapOf is a problem of the scan as a gap.
func gapOf(p layoutstore.Problem) layoutstore.Gap {
	g := layoutstore.Gap{Kind: p.Kind, Path: p.Path, Entry: p.Entry, Chunks: []string{}, Repository: p.Repository,
		Tags: []string{}, Digest: p.Digest, Reason: p.Reason}
	if p.Tag != "" {
		g.Tags = append(g.Tags, p.Tag)
	}
	return g
}

func (f *findings) tally(key causeKey) *tally {
	t := f.causes[key]
	if t == nil {
		t = &tally{}
		f.causes[key] = t
	}
	return t
}

// add puts a gap where its cause is: what is missing in an archive that is not whole is
// missing for that.
func (f *findings) add(gap layoutstore.Gap) {
	delete(f.repeated, said{gap.Path, gap.Entry, gap.Reason})
	key := causeKey{gap.Kind, container(gap), gap.Reason}
	if trouble, ok := f.troubles[key.path]; ok && gap.Kind == layoutstore.Incomplete {
		key.reason = trouble
	}
	f.number(gap)
	f.tally(key).add(f, gap)
	if more := len(gap.Tags) - maxTags; more > 0 {
		gap.Tags, gap.MoreTags = slices.Clone(gap.Tags[:maxTags]), more
	}
	switch full := f.first.full; {
	case f.first.add(finding{key, gap}):
		f.forgetUnlisted()
	case full && !f.causes[key].alone && compareCauses(key, f.first.last.cause) > 0:
		delete(f.causes, key)
	}
}

// number gives the tags of a gap their numbers. A list of tags is shared by everything
// that one manifest leads to: a long one is looked at once.
func (f *findings) number(gap layoutstore.Gap) {
	if len(gap.Tags) > 16 {
		list := tagList{gap.Repository, &gap.Tags[0], len(gap.Tags)}
		if f.seen[list] {
			return
		}
		f.seen[list] = true
	}
	for _, t := range gap.Tags {
		if key := (tag{gap.Repository, t}); f.tags[key] == 0 {
			f.tags[key] = int32(len(f.tags) + 1)
		}
	}
}

// forgetUnlisted drops the tallies of causes that are not listed any more.
func (f *findings) forgetUnlisted() {
	listed := make(map[causeKey]bool, len(f.first.items))
	for _, x := range f.first.items {
		listed[x.cause] = true
	}
	maps.DeleteFunc(f.causes, func(key causeKey, t *tally) bool { return !t.alone && !listed[key] })
}

func (t *tally) add(f *findings, gap layoutstore.Gap) {
	t.count++
	if len(gap.Tags) == 0 {
		return
	}
	if t.repositories == nil {
		t.repositories = map[string]bool{}
	}
	if t.one == nil && t.tags == nil {
		t.one, t.repositories[gap.Repository] = gap.Tags, true
		return
	}
	if t.one != nil {
		if t.repositories[gap.Repository] && len(t.one) == len(gap.Tags) && &t.one[0] == &gap.Tags[0] {
			return
		}
		t.tags = map[int32]bool{}
		for repository := range t.repositories { // there is one
			t.take(f, repository, t.one)
		}
		t.one = nil
	}
	t.take(f, gap.Repository, gap.Tags)
}

func (t *tally) take(f *findings, repository string, tags []string) {
	t.repositories[repository] = true
	for _, name := range tags {
		t.tags[f.tags[tag{repository, name}]] = true
	}
}

// container is what a gap's content lies in: an archive or a layout's directory.
func container(gap layoutstore.Gap) string {
	if up := filepath.Dir(filepath.Dir(gap.Path)); gap.Entry == "" && gap.Digest != "" &&
		filepath.Base(gap.Path) == gap.Digest.Encoded() && filepath.Base(up) == "blobs" {
		return filepath.Dir(up)
	}
	return gap.Path
}

// report writes the causes and the counts into a report.
func (f *findings) report(r *Report) {
	for _, p := range f.repeated {
		f.add(gapOf(p))
	}
	listed := map[causeKey][]layoutstore.Gap{}
	for _, x := range f.first.sorted() {
		listed[x.cause] = append(listed[x.cause], x.gap)
	}
	for key, t := range f.causes {
		gaps := listed[key]
		if len(gaps) == 0 {
			if !t.alone {
				continue
			}
			gaps = []layoutstore.Gap{}
		}
		r.Causes = append(r.Causes, Cause{Kind: key.kind, Path: key.path, Reason: key.reason,
			Tags: max(len(t.one), len(t.tags)), Repositories: len(t.repositories), Count: t.count, Gaps: gaps})
	}
	slices.SortFunc(r.Causes, func(a, b Cause) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Reason, b.Reason))
	})
	r.TagsAffected, r.Omitted.Gaps = len(f.tags), f.first.omitted()
}
