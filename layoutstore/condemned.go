package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// condemned are the copies of blobs that somebody read and found wrong. They are
// refused until their file changes, in this snapshot and in those that follow.
type condemned struct {
	n  atomic.Int32 // how many there are: who finds 0 looks no further
	mu sync.Mutex
	at map[place]map[digest.Digest]verdict // by the place of their layout
}

// verdict is what was found wrong with a copy in one state of its file.
type verdict struct{ stamp, reason string }

// Condemn has a copy of d refused that lies in a layout of the repository and is not
// what its name says. It holds until the file has another stamp than the one that
// [Layout.Stamp] said before and after the copy was read, or until [Repository.Clear]
// lifts it. No error of opening or asking the file lifts it, nor its absence. Condemn
// says whether that is news: a copy whose size no manifest claims is refused for that
// already.
func (r *Repository) Condemn(l Layout, d digest.Digest, stamp, reason string) bool {
	news := !r.wrongSized(l, d)
	c := r.condemned
	c.mu.Lock()
	defer c.mu.Unlock()
	where, v := l.part.where(), verdict{stamp, reason}
	before, known := c.at[where][d]
	if before == v {
		return false
	}
	if c.at == nil {
		c.at = map[place]map[digest.Digest]verdict{}
	}
	if c.at[where] == nil {
		c.at[where] = map[digest.Digest]verdict{}
	}
	c.at[where][d] = v
	if !known {
		c.n.Add(1)
	}
	return news
}

// Clear lifts a verdict on a copy whose bytes were proven right while its file had the
// stamp, before and after they were read.
func (r *Repository) Clear(l Layout, d digest.Digest, stamp string) {
	c := r.condemned
	if c.n.Load() == 0 {
		return
	}
	at := l.part.where()
	c.mu.Lock()
	v, ok := c.at[at][d]
	c.mu.Unlock()
	if ok && v.stamp == stamp {
		c.forget(at, d, v)
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
	at := p.where()
	c.mu.Lock()
	v, ok := c.at[at][d]
	c.mu.Unlock()
	if !ok {
		return "", false
	}
	// Not under the lock: a disk may hang. In doubt it holds: an error says nothing of
	// the bytes.
	if stamp, err := volume.StampOf(where); err != nil || stamp == v.stamp {
		return v.reason, true
	}
	c.forget(at, d, v)
	return "", false
}

// reason says why the copy of d in the layout at a place was condemned.
func (c *condemned) reason(at place, d digest.Digest) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.at[at][d]
	return v.reason, ok
}

// forget drops a verdict, unless there is another one by now.
func (c *condemned) forget(at place, d digest.Digest, v verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have, ok := c.at[at][d]; ok && have == v {
		delete(c.at[at], d)
		c.n.Add(-1)
	}
}

// in are the digests that are condemned in the layout at a place, sorted.
func (c *condemned) in(at place) (all []digest.Digest) {
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
