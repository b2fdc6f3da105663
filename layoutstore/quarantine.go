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

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// quarantine is the set of blob copies that a scrub found damaged. All snapshots refuse a copy
// until its file changes. With records, later processes refuse it, too.
type quarantine struct {
	count   atomic.Int32 // number of copies and unread records; if 0, nothing needs to be checked
	base    string       // working directory, to make relative paths absolute
	records *records

	mu     sync.Mutex                          // protects copies and unread
	copies map[place]map[digest.Digest]reasons // quarantined copies, by the absolute place of their layout
	unread map[string]error                    // errors of records that cannot be read, by file name
}

// reasons maps stamps of a file to the reason why the copy in the file is damaged. There are
// several reasons only if the file changed between two findings.
type reasons map[string]string

// any returns one of the reasons, or "" if there is none.
func (r reasons) any() string {
	for _, reason := range r {
		return reason
	}
	return ""
}

// newQuarantine returns a quarantine with the records in dir. If dir is "", it is kept only in memory.
func newQuarantine(dir string) *quarantine {
	q := &quarantine{records: newRecords(dir)}
	q.base, _ = filepath.Abs(".") // if this fails, paths stay relative
	q.syncRecords()
	return q
}

// absolute returns a place with an absolute path, because processes may share records but have
// different working directories.
func (q *quarantine) absolute(at place) place {
	if !filepath.IsAbs(at.path) && !bucket.IsPlace(at.path) {
		at.path = filepath.Join(q.base, at.path)
	}
	return at
}

// syncRecords writes and removes queued records. It also reads records that were not read yet.
func (q *quarantine) syncRecords() {
	found, unread := q.records.sync()
	if len(found)+len(unread) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, v := range found {
		q.add(v)
	}
	q.count.Add(int32(len(unread)))
	q.unread = unread
}

// add adds the copy in a record to the quarantine.
func (q *quarantine) add(v record) {
	if q.copies == nil {
		q.copies = map[place]map[digest.Digest]reasons{}
	}
	if q.copies[v.at] == nil {
		q.copies[v.at] = map[digest.Digest]reasons{}
	}
	if q.copies[v.at][v.digest] == nil {
		q.copies[v.at][v.digest] = reasons{}
		q.count.Add(1)
	}
	q.copies[v.at][v.digest][v.stamp] = v.reason
}

// Quarantine records that the copy of d in a layout is damaged. The copy is then refused until its
// file changes, or until [Repository.Release] lifts the quarantine. stamp is the result of
// [Layout.Stamp], which must be the same before and after the copy was read. The quarantine
// continues while the file is missing or cannot be opened and, with [Options.QuarantineDir], after
// the end of the process. news is false if the finding was known. It is also false if manifests
// claim only other sizes for d, because a check reports this. If ctx has ended, nothing is recorded,
// and the error is its cause.
func (r *Repository) Quarantine(ctx context.Context, l Layout, d digest.Digest, stamp, reason string) (news bool, err error) {
	wrongSized := false // true, for example, while a program writes the file
	where, err := l.Locate(ctx, d)
	if err == nil {
		wrongSized, err = r.unclaimed(ctx, d, where)
	}
	if err != nil && ctx.Err() != nil {
		return false, err
	}
	q := r.quarantine
	v := record{q.absolute(l.indexed.where()), d, stamp, reason}
	q.mu.Lock()
	have := q.copies[v.at][d]
	if before, ok := have[stamp]; ok && before == reason && len(have) == 1 {
		q.mu.Unlock()
		if q.records.isMissing(v) {
			q.records.queueWrite(v)
			q.syncRecords()
		}
		return false, nil
	}
	q.remove(v.at, d, have)
	q.add(v)
	q.mu.Unlock()
	q.records.queueWrite(v)
	q.syncRecords()
	return !wrongSized, nil
}

// Release lifts the quarantine of a copy that was verified. stamp is the result of [Layout.Stamp],
// which must be the same before and after the copy was read.
func (r *Repository) Release(l Layout, d digest.Digest, stamp string) {
	q := r.quarantine
	if q.count.Load() == 0 {
		return
	}
	at := q.absolute(l.indexed.where())
	name := record{at: at, digest: d, stamp: stamp}.name()
	q.mu.Lock()
	have := q.copies[at][d]
	_, known := have[stamp]
	_, unread := q.unread[name]
	if known {
		q.remove(at, d, have)
	}
	if unread {
		delete(q.unread, name)
		q.count.Add(-1)
		q.records.queueRemove(name)
	}
	q.mu.Unlock()
	if known || unread {
		q.syncRecords()
	}
}

// unclaimed reports whether manifests claim sizes for d, but none claims the size of the copy at
// where. The error is the cause of ctx.
func (r *Repository) unclaimed(ctx context.Context, d digest.Digest, where extent.List) (bool, error) {
	t, err := r.readTable(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return false, context.Cause(ctx)
	case err != nil:
		return false, nil
	}
	k, _ := keyOf(d)
	claims := t.claimsOf(k)
	return len(claims) > 0 && !hasSize(claims, where.Size()), nil
}

// Stamp returns a text that identifies the state of the files that contain d in the layout. It
// depends on sizes, modification times and inodes, or on the ETags of objects, but not on links, modes
// and owners. Errors come from [Layout.Locate], from opening the files and from the bucket: Stamp asks
// for the state of a blob in a store in a bucket.
func (l Layout) Stamp(ctx context.Context, d digest.Digest) (string, error) {
	where, err := l.Locate(ctx, d)
	if err != nil {
		return "", err
	}
	stamp, err := volume.StampOf(ctx, where)
	return stamp, orEnded(ctx, err)
}

// checkCopy reports whether the copy of d in a layout is refused, and why. If the file has changed,
// it lifts the quarantine. The error is the cause of ctx, or bucket.ErrUnreachable.
func (q *quarantine) checkCopy(ctx context.Context, p *indexedLayout, d digest.Digest, where extent.List) (reason string, refused bool, err error) {
	if q.count.Load() == 0 {
		return "", false, nil
	}
	at := q.absolute(p.where())
	q.mu.Lock()
	have, unread := maps.Clone(q.copies[at][d]), len(q.unread)
	q.mu.Unlock()
	if len(have)+unread == 0 {
		return "", false, nil
	}
	// Do not hold the lock here, because a disk may hang. An error does not lift the quarantine,
	// because it is not about the content.
	stamp, err := volume.StampOf(ctx, where)
	switch {
	case err != nil && ctx.Err() != nil:
		return "", false, context.Cause(ctx)
	case err != nil && len(have) > 0:
		return have.any(), true, nil
	case errors.Is(err, bucket.ErrUnreachable):
		return "", false, err // the copy cannot be read now, either
	case err != nil:
		return "a quarantine record that cannot be read may be about it, and its file cannot be examined: " + err.Error(), true, nil
	}
	if reason, ok := have[stamp]; ok {
		return reason, true, nil
	}
	if q.identify(record{at, d, stamp, unreadReason}) {
		return unreadReason, true, nil
	}
	q.removeOutdated(at, d, have)
	return "", false, nil
}

// mayRefuse reports whether checkCopy may refuse the copy of d in a layout. It reads no file.
func (q *quarantine) mayRefuse(p *indexedLayout, d digest.Digest) bool {
	if q.count.Load() == 0 {
		return false
	}
	at := q.absolute(p.where())
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.copies[at][d])+len(q.unread) > 0
}

// unreadReason is the reason for refusing a copy if only the name of its record can be read.
const unreadReason = "an earlier scrub found it damaged; the record with the details cannot be read"

// identify replaces the unreadable record that has the name of v by v. It reports whether there was
// such a record.
func (q *quarantine) identify(v record) bool {
	name := v.name()
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.unread[name]; !ok {
		return false
	}
	delete(q.unread, name)
	q.count.Add(-1)
	q.add(v)
	q.records.queueWrite(v)
	return true
}

// reason returns why the copy of d in a layout was quarantined. ok is false if it was not.
func (q *quarantine) reason(at place, d digest.Digest) (reason string, ok bool) {
	at = q.absolute(at)
	q.mu.Lock()
	defer q.mu.Unlock()
	have, ok := q.copies[at][d]
	return have.any(), ok
}

// removeOutdated removes a copy whose file has changed, and its records. If the reasons of the copy
// are no longer have, it does nothing.
func (q *quarantine) removeOutdated(at place, d digest.Digest, have reasons) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(have) > 0 && maps.Equal(q.copies[at][d], have) {
		q.remove(at, d, have)
	}
}

// remove removes a copy with the reasons have, and its records. If have is empty, it does nothing.
func (q *quarantine) remove(at place, d digest.Digest, have reasons) {
	if len(have) == 0 {
		return
	}
	for stamp := range have {
		q.records.queueRemove(record{at: at, digest: d, stamp: stamp}.name())
	}
	delete(q.copies[at], d)
	q.count.Add(-1)
}

// problems returns problems of the quarantine itself, such as records that cannot be read.
func (q *quarantine) problems() []Problem {
	all := q.records.problems()
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, err := range q.unread {
		all = append(all, Problem{Kind: Limited, Path: filepath.Join(q.records.dir, name),
			Reason: fmt.Sprintf("the record of a quarantined blob cannot be read (%v): the blob is refused until its file changes; after a complete pass of a scrub, remove the record", err)})
	}
	return all
}

// digestsIn returns the digests of the quarantined copies in the layout at a place, sorted.
func (q *quarantine) digestsIn(at place) (all []digest.Digest) {
	at = q.absolute(at)
	q.mu.Lock()
	defer q.mu.Unlock()
	for d := range q.copies[at] {
		all = append(all, d)
	}
	slices.Sort(all)
	return all
}

// quarantineProblems returns the known problems, and adds those of the remaining quarantined
// copies, ordered by layout and digest. It reads the state of each file, so it adds at most
// [maxProblems]. The error is the cause of ctx.
func (r *Repository) quarantineProblems(ctx context.Context, known []Problem) ([]Problem, error) {
	if r.quarantine.count.Load() == 0 {
		return known, nil
	}
	type problemKey struct{ path, entry, digest, reason string }
	keyOf := func(p Problem) problemKey { return problemKey{p.Path, p.Entry, string(p.Digest), p.Reason} }
	reported := make(map[problemKey]bool, len(known))
	for _, p := range known {
		reported[keyOf(p)] = true
	}
	all := slices.Clip(known)
	for _, p := range r.layouts {
		for _, d := range r.quarantine.digestsIn(p.where()) {
			problem, ok, err := r.quarantineProblem(ctx, p, d)
			if err != nil {
				return nil, err
			}
			if !ok || reported[keyOf(problem)] {
				continue
			}
			if len(all) == len(known)+maxProblems {
				return append(all, p.where().problem(Problem{Kind: Damaged, Reason: fmt.Sprintf("more than %d blobs in quarantine: the rest is not listed", maxProblems)})), nil
			}
			all = append(all, problem)
		}
	}
	return all, nil
}

// quarantineProblem returns the problem of a quarantined copy of d in a layout. ok is false if the
// copy is not quarantined, or if its size is wrong, because a check reports wrong sizes. The error
// is the cause of ctx.
func (r *Repository) quarantineProblem(ctx context.Context, p *indexedLayout, d digest.Digest) (found Problem, ok bool, err error) {
	reason, ok := r.quarantine.reason(p.where(), d)
	if !ok {
		return Problem{}, false, nil
	}
	where, err := Layout{p}.Locate(ctx, d)
	switch {
	case err != nil && ctx.Err() != nil:
		return Problem{}, false, err
	case errors.Is(err, fs.ErrNotExist):
		return Problem{}, false, nil
	case err == nil:
		if reason, ok, err = r.quarantine.checkCopy(ctx, p, d, where); err != nil || !ok {
			return Problem{}, false, err
		}
		if unclaimed, err := r.unclaimed(ctx, d, where); err != nil || unclaimed {
			return Problem{}, false, err
		}
	}
	return p.where().blob(d).problem(Problem{Kind: Damaged, Tags: tagList(r.tagOf(d)), Digest: d, Reason: reason}), true, nil
}

// QuarantineProblem returns the problem of the quarantined copy of d in a layout of the repository
// at path. It is the same problem as in [Snapshot.Problems], but QuarantineProblem reads the state
// of only this file. ok is false if there is no such problem. The error is the cause of ctx.
func (s *Snapshot) QuarantineProblem(ctx context.Context, path string, l Layout, d digest.Digest) (found Problem, ok bool, err error) {
	r := s.byPath[path]
	if r == nil {
		return Problem{}, false, nil
	}
	found, ok, err = r.quarantineProblem(ctx, l.indexed, d)
	found.Repository, found.Layout = s.servedName(path), r.path
	return found, ok, err
}

// tagOf returns a tag that leads to d. It returns "" if no such tag is known.
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
