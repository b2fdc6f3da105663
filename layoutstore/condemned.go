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

// condemned are the copies of blobs that somebody read and found wrong. They are
// refused until their file changes, in this snapshot and in those that follow; and by
// later processes as well, where records are kept.
type condemned struct {
	n       atomic.Int32 // how many copies and unread records there are: who finds 0 looks no further
	base    string       // that relative paths of sources begin at
	records *records

	mu     sync.Mutex
	at     map[place]map[digest.Digest]verdicts // by the absolute place of their layout
	unread map[string]error                     // records that cannot be read, by name, and why
}

// verdicts say what was found wrong with a copy, by the stamps of its file. More than one
// is of a file that has changed since.
type verdicts map[string]string

// any is one of the reasons.
func (v verdicts) any() string {
	for _, reason := range v {
		return reason
	}
	return ""
}

// newCondemned reads the verdicts that are kept in a directory; the empty one keeps none.
func newCondemned(dir string) *condemned {
	c := &condemned{records: newRecords(dir)}
	c.base, _ = filepath.Abs(".") // without one, paths stay as they are
	c.tend()
	return c
}

// absolute is the place under which verdicts are kept, wherever a process starts.
func (c *condemned) absolute(at place) place {
	if !filepath.IsAbs(at.path) {
		at.path = filepath.Join(c.base, at.path)
	}
	return at
}

// tend reads the records if that has not succeeded yet, and writes and removes those that
// wait for it.
func (c *condemned) tend() {
	found, unread := c.records.tend()
	if len(found)+len(unread) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range found {
		c.add(v)
	}
	c.n.Add(int32(len(unread)))
	c.unread = unread
}

// add adds a verdict to those that are known.
func (c *condemned) add(v verdict) {
	if c.at == nil {
		c.at = map[place]map[digest.Digest]verdicts{}
	}
	if c.at[v.at] == nil {
		c.at[v.at] = map[digest.Digest]verdicts{}
	}
	if c.at[v.at][v.digest] == nil {
		c.at[v.at][v.digest] = verdicts{}
		c.n.Add(1)
	}
	c.at[v.at][v.digest][v.stamp] = v.reason
}

// Condemn has a copy of d refused that lies in a layout of the repository and is not
// what its name says. It holds until the file has another stamp than the one that
// [Layout.Stamp] said before and after the copy was read, or until [Repository.Clear]
// lifts it. No error of opening or asking the file lifts it, nor its absence, nor, where
// [Options.QuarantineDir] is set, the end of the process. Condemn says whether that is
// news: a copy whose size no manifest claims is refused for that already.
func (r *Repository) Condemn(l Layout, d digest.Digest, stamp, reason string) bool {
	news := !r.wrongSized(l, d)
	c := r.condemned
	v := verdict{c.absolute(l.part.where()), d, stamp, reason}
	c.mu.Lock()
	have := c.at[v.at][d]
	if before, ok := have[stamp]; ok && before == reason && len(have) == 1 {
		c.mu.Unlock()
		if c.records.lost(v) {
			c.records.keep(v)
			c.tend()
		}
		return false
	}
	c.drop(v.at, d, have)
	c.add(v)
	c.mu.Unlock()
	c.records.keep(v)
	c.tend()
	return news
}

// Clear lifts a verdict on a copy whose bytes were proven right while its file had the
// stamp, before and after they were read.
func (r *Repository) Clear(l Layout, d digest.Digest, stamp string) {
	c := r.condemned
	if c.n.Load() == 0 {
		return
	}
	at := c.absolute(l.part.where())
	name := verdict{at: at, digest: d, stamp: stamp}.name()
	c.mu.Lock()
	have, known := c.at[at][d]
	_, proven := have[stamp]
	_, unread := c.unread[name]
	if known && proven {
		c.drop(at, d, have)
	}
	if unread {
		delete(c.unread, name)
		c.n.Add(-1)
		c.records.drop(name)
	}
	c.mu.Unlock()
	if known && proven || unread {
		c.tend()
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
	contents, err := r.read(context.Background())
	if err != nil {
		return false
	}
	claims := contents.claimsOf(d)
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

// holds says why the copy of d in a part is refused, and forgets the verdict if the
// file is another one by now.
func (c *condemned) holds(p *part, d digest.Digest, where extent.List) (reason string, ok bool) {
	if c.n.Load() == 0 {
		return "", false
	}
	at := c.absolute(p.where())
	c.mu.Lock()
	have, unread := maps.Clone(c.at[at][d]), len(c.unread)
	c.mu.Unlock()
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
	if reason, ok := c.identify(verdict{at, d, stamp, unreadReason}); ok {
		return reason, true
	}
	c.forget(at, d, have)
	return "", false
}

// unreadReason is the reason of a verdict of which only the name of its record is left.
const unreadReason = "an earlier scrub found it damaged; the record that says how cannot be read"

// identify says whether one of the records that cannot be read is about a copy in this
// state of its file. From then on it is known like any other.
func (c *condemned) identify(v verdict) (reason string, ok bool) {
	name := v.name()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.unread[name]; !ok {
		return "", false
	}
	delete(c.unread, name)
	c.n.Add(-1)
	c.add(v)
	c.records.keep(v) // anew
	return v.reason, true
}

// reason says why the copy of d in the layout at a place was condemned.
func (c *condemned) reason(at place, d digest.Digest) (string, bool) {
	at = c.absolute(at)
	c.mu.Lock()
	defer c.mu.Unlock()
	have, ok := c.at[at][d]
	return have.any(), ok
}

// forget drops the verdicts on a copy, unless there are others by now. Their records say
// nothing of the file as it is now, and wait to be removed.
func (c *condemned) forget(at place, d digest.Digest, have verdicts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(have) > 0 && maps.Equal(c.at[at][d], have) {
		c.drop(at, d, have)
	}
}

// drop drops the verdicts on a copy.
func (c *condemned) drop(at place, d digest.Digest, have verdicts) {
	if len(have) == 0 {
		return
	}
	for stamp := range have {
		c.records.drop(verdict{at: at, digest: d, stamp: stamp}.name())
	}
	delete(c.at[at], d)
	c.n.Add(-1)
}

// problems are those of the quarantine itself.
func (c *condemned) problems() []Problem {
	all := c.records.problems()
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, err := range c.unread {
		all = append(all, Problem{Kind: Limited, Path: filepath.Join(c.records.dir, name),
			Reason: fmt.Sprintf("the record of a quarantined blob cannot be read (%v): the blob stays refused while its file is unchanged; when a scrub has read everything, remove the record", err)})
	}
	return all
}

// in are the digests that are condemned in the layout at a place, sorted.
func (c *condemned) in(at place) (all []digest.Digest) {
	at = c.absolute(at)
	c.mu.Lock()
	defer c.mu.Unlock()
	for d := range c.at[at] {
		all = append(all, d)
	}
	slices.Sort(all)
	return all
}

// condemnedProblems adds to the problems of the repository those of its copies that are
// condemned, if the check has not told of them. The first are listed, in the order of
// layouts and digests: each is asked for in the file system.
func (r *Repository) condemnedProblems(known []Problem) []Problem {
	if r.condemned.n.Load() == 0 {
		return known
	}
	told := make(map[Problem]bool, len(known))
	for _, p := range known {
		told[p] = true
	}
	all := slices.Clip(known)
	for _, p := range r.parts {
		for _, d := range r.condemned.in(p.where()) {
			problem, ok := r.condemnedProblem(p, d)
			if !ok || told[problem] {
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

// condemnedProblem is the problem of the copy of d in a part, if it is condemned still
// and the check does not tell of it.
func (r *Repository) condemnedProblem(p *part, d digest.Digest) (Problem, bool) {
	reason, ok := r.condemned.reason(p.where(), d)
	if !ok {
		return Problem{}, false
	}
	where, err := p.vol.Locate(p.path, d)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Problem{}, false
	case err == nil:
		if reason, ok = r.condemned.holds(p, d, where); !ok || r.unclaimed(d, where) {
			return Problem{}, false
		}
	}
	return p.where().blob(d).problem(Problem{Kind: Damaged, Tag: r.tagOf(d), Digest: d, Reason: reason}), true
}

// Condemned is the problem of a copy of d in a layout of the repository at path that was
// condemned, as it is among [Snapshot.Problems]. It looks at no other copy.
func (s *Snapshot) Condemned(path string, l Layout, d digest.Digest) (Problem, bool) {
	r := s.byPath[path]
	if r == nil {
		return Problem{}, false
	}
	problem, ok := r.condemnedProblem(l.part, d)
	problem.Repository, problem.Layout = s.servedName(path), r.path
	return problem, ok
}

// tagOf is a tag that leads to d, if the manifests were read and there is one.
func (r *Repository) tagOf(d digest.Digest) string {
	if n := r.topNode(d); n != nil {
		return n.tag
	}
	if c := r.contents.Load(); c != nil {
		if claims := c.claimsOf(d); len(claims) > 0 {
			return claims[0].owner.tag
		}
	}
	return ""
}
