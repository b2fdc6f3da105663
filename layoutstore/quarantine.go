package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// quarantine holds the copies of blobs that a scrub read and found damaged. They are
// refused until their file changes, in this snapshot and in those that follow; and by
// later processes as well, where records are kept.
type quarantine struct {
	n       atomic.Int32 // how many copies and unread records there are: who finds 0 looks no further
	base    string       // that relative paths of sources begin at
	records *records

	mu     sync.Mutex
	at     map[place]map[digest.Digest]reasons // by the absolute place of their layout
	unread map[string]error                    // records that cannot be read, by name, and why
}

// reasons say what was found wrong with a copy, by the stamps of its file. More than one
// is about a file that has changed since.
type reasons map[string]string

// any is one of the reasons.
func (r reasons) any() string {
	for _, reason := range r {
		return reason
	}
	return ""
}

// newQuarantine reads the records that are kept in a directory; the empty one keeps none.
func newQuarantine(dir string) *quarantine {
	q := &quarantine{records: newRecords(dir)}
	q.base, _ = filepath.Abs(".") // without one, paths stay as they are
	q.tend()
	return q
}

// absolute is the place under which records are kept, wherever a process starts.
func (q *quarantine) absolute(at place) place {
	if !filepath.IsAbs(at.path) {
		at.path = filepath.Join(q.base, at.path)
	}
	return at
}

// tend reads the records if that has not succeeded yet, and writes and removes those that
// wait for it.
func (q *quarantine) tend() {
	found, unread := q.records.tend()
	if len(found)+len(unread) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, v := range found {
		q.add(v)
	}
	q.n.Add(int32(len(unread)))
	q.unread = unread
}

// add adds a copy.
func (q *quarantine) add(v record) {
	if q.at == nil {
		q.at = map[place]map[digest.Digest]reasons{}
	}
	if q.at[v.at] == nil {
		q.at[v.at] = map[digest.Digest]reasons{}
	}
	if q.at[v.at][v.digest] == nil {
		q.at[v.at][v.digest] = reasons{}
		q.n.Add(1)
	}
	q.at[v.at][v.digest][v.stamp] = v.reason
}

// Quarantine has a copy of d refused that lies in a layout of the repository and is not
// what its name says. It holds until the file has another stamp than the one that
// [Layout.Stamp] said before and after the copy was read, or until [Repository.Release]
// lifts it. No error of opening or asking the file lifts it, nor its absence, nor, where
// [Options.QuarantineDir] is set, the end of the process. Quarantine says whether that is
// news: a copy whose size no manifest claims is refused for that already.
func (r *Repository) Quarantine(l Layout, d digest.Digest, stamp, reason string) bool {
	news := !r.wrongSized(l, d)
	q := r.quarantine
	v := record{q.absolute(l.part.where()), d, stamp, reason}
	q.mu.Lock()
	have := q.at[v.at][d]
	if before, ok := have[stamp]; ok && before == reason && len(have) == 1 {
		q.mu.Unlock()
		if q.records.lost(v) {
			q.records.keep(v)
			q.tend()
		}
		return false
	}
	q.drop(v.at, d, have)
	q.add(v)
	q.mu.Unlock()
	q.records.keep(v)
	q.tend()
	return news
}

// Release lifts the quarantine of a copy whose bytes were proven right while its file had the
// stamp, before and after they were read.
func (r *Repository) Release(l Layout, d digest.Digest, stamp string) {
	q := r.quarantine
	if q.n.Load() == 0 {
		return
	}
	at := q.absolute(l.part.where())
	name := record{at: at, digest: d, stamp: stamp}.name()
	q.mu.Lock()
	have, known := q.at[at][d]
	_, proven := have[stamp]
	_, unread := q.unread[name]
	if known && proven {
		q.drop(at, d, have)
	}
	if unread {
		delete(q.unread, name)
		q.n.Add(-1)
		q.records.drop(name)
	}
	q.mu.Unlock()
	if known && proven || unread {
		q.tend()
	}
}

// wrongSized says whether the copy of d in a layout has a size that no manifest claims,
// as one has that is being written.
func (r *Repository) wrongSized(l Layout, d digest.Digest) bool {
	where, err := l.Locate(d)
	return err == nil && r.unclaimed(d, where)
}

// unclaimed says whether manifests claim sizes of d, and none the one that it has there.
func (r *Repository) unclaimed(d digest.Digest, where extent.List) bool {
	t, err := r.read(context.Background())
	if err != nil {
		return false
	}
	k, _ := keyOf(d)
	claims := t.claimsOf(k)
	return len(claims) > 0 && !claimed(claims, where.Size())
}

// Stamp identifies what was written into the file or files that hold d in the layout,
// by sizes, modification times and inodes: links, modes and owners change nothing.
// Errors are those of [Layout.Locate] and of opening the files.
func (l Layout) Stamp(d digest.Digest) (string, error) {
	where, err := l.Locate(d)
	if err != nil {
		return "", err
	}
	return volume.StampOf(where)
}

// holds says why the copy of d in a part is refused, and releases it if the
// file is another one by now.
func (q *quarantine) holds(p *part, d digest.Digest, where extent.List) (reason string, ok bool) {
	if q.n.Load() == 0 {
		return "", false
	}
	at := q.absolute(p.where())
	q.mu.Lock()
	have, unread := maps.Clone(q.at[at][d]), len(q.unread)
	q.mu.Unlock()
	if len(have)+unread == 0 {
		return "", false
	}
	// Not under the lock: a disk may hang. In doubt it holds: an error says nothing of
	// the bytes.
	stamp, err := volume.StampOf(where)
	switch {
	case err != nil && len(have) > 0:
		return have.any(), true
	case err != nil:
		return "it may be quarantined by a record that cannot be read: " + err.Error(), true
	}
	if reason, ok := have[stamp]; ok {
		return reason, true
	}
	if reason, ok := q.identify(record{at, d, stamp, unreadReason}); ok {
		return reason, true
	}
	q.forget(at, d, have)
	return "", false
}

// concerns says whether a copy of d in a part may be refused, without looking at its file.
func (q *quarantine) concerns(p *part, d digest.Digest) bool {
	if q.n.Load() == 0 {
		return false
	}
	at := q.absolute(p.where())
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.at[at][d])+len(q.unread) > 0
}

// unreadReason is the reason of a copy of whose record only the name is left.
const unreadReason = "an earlier scrub found it damaged; the record that says how cannot be read"

// identify says whether one of the records that cannot be read is about a copy in this
// state of its file. From then on it is known like any other.
func (q *quarantine) identify(v record) (reason string, ok bool) {
	name := v.name()
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.unread[name]; !ok {
		return "", false
	}
	delete(q.unread, name)
	q.n.Add(-1)
	q.add(v)
	q.records.keep(v) // anew
	return v.reason, true
}

// reason says why the copy of d in the layout at a place was quarantined.
func (q *quarantine) reason(at place, d digest.Digest) (string, bool) {
	at = q.absolute(at)
	q.mu.Lock()
	defer q.mu.Unlock()
	have, ok := q.at[at][d]
	return have.any(), ok
}

// forget drops the reasons of a copy, unless there are others by now. They say nothing of
// the file as it is now: their records are removed.
func (q *quarantine) forget(at place, d digest.Digest, have reasons) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(have) > 0 && maps.Equal(q.at[at][d], have) {
		q.drop(at, d, have)
	}
}

// drop drops the reasons of a copy, and has their records removed.
func (q *quarantine) drop(at place, d digest.Digest, have reasons) {
	if len(have) == 0 {
		return
	}
	for stamp := range have {
		q.records.drop(record{at: at, digest: d, stamp: stamp}.name())
	}
	delete(q.at[at], d)
	q.n.Add(-1)
}

// problems are those of the quarantine itself.
func (q *quarantine) problems() []Problem {
	all := q.records.problems()
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, err := range q.unread {
		all = append(all, Problem{Kind: Limited, Path: filepath.Join(q.records.dir, name),
			Reason: fmt.Sprintf("the record of a quarantined blob cannot be read (%v): the blob stays refused while its file is unchanged; when a scrub has read everything, remove the record", err)})
	}
	return all
}

// in are the digests that are quarantined in the layout at a place, sorted.
func (q *quarantine) in(at place) (all []digest.Digest) {
	at = q.absolute(at)
	q.mu.Lock()
	defer q.mu.Unlock()
	for d := range q.at[at] {
		all = append(all, d)
	}
	slices.Sort(all)
	return all
}

// quarantineProblems adds to the problems of the repository those of its copies that are
// quarantined, if the check has not told of them. The first are listed, in the order of
// layouts and digests: each is asked for in the file system.
func (r *Repository) quarantineProblems(known []Problem) []Problem {
	if r.quarantine.n.Load() == 0 {
		return known
	}
	type copyKey struct{ path, entry, digest, reason string }
	keyOf := func(p Problem) copyKey { return copyKey{p.Path, p.Entry, string(p.Digest), p.Reason} }
	told := make(map[copyKey]bool, len(known))
	for _, p := range known {
		told[keyOf(p)] = true
	}
	all := slices.Clip(known)
	for _, p := range r.parts {
		for _, d := range r.quarantine.in(p.where()) {
			problem, ok := r.quarantineProblem(p, d)
			if !ok || told[keyOf(problem)] {
				continue
			}
			if len(all) == len(known)+maxProblems {
				return append(all, p.where().problem(Problem{Kind: Damaged, Reason: fmt.Sprintf("more than %d blobs in quarantine: the rest is not listed", maxProblems)}))
			}
			all = append(all, problem)
		}
	}
	return all
}

// quarantineProblem is the problem of the copy of d in a part, if it is quarantined still
// and the check does not tell of it.
func (r *Repository) quarantineProblem(p *part, d digest.Digest) (Problem, bool) {
	reason, ok := r.quarantine.reason(p.where(), d)
	if !ok {
		return Problem{}, false
	}
	where, err := p.vol.Locate(p.path, d)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Problem{}, false
	case err == nil:
		if reason, ok = r.quarantine.holds(p, d, where); !ok || r.unclaimed(d, where) {
			return Problem{}, false
		}
	}
	return p.where().blob(d).problem(Problem{Kind: Damaged, Tags: tagList(r.tagOf(d)), Digest: d, Reason: reason}), true
}

// Quarantined is the problem of a copy of d in a layout of the repository at path that was
// quarantined, as it is among [Snapshot.Problems]. It looks at no other copy.
func (s *Snapshot) QuarantineProblem(path string, l Layout, d digest.Digest) (Problem, bool) {
	r := s.byPath[path]
	if r == nil {
		return Problem{}, false
	}
	problem, ok := r.quarantineProblem(l.part, d)
	problem.Repository, problem.Layout = s.servedName(path), r.path
	return problem, ok
}

// tagOf is a tag that leads to d, if the manifests were read and there is one.
func (r *Repository) tagOf(d digest.Digest) string {
	k, _ := keyOf(d)
	if n := r.topNode(k); n != nil {
		return n.tag
	}
	if t := r.table.Load(); t != nil {
		if claims := t.claimsOf(k); len(claims) > 0 {
			return r.top[claims[0].top].tag
		}
	}
	return ""
}
