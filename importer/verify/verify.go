// Package verify reads a whole tree and says whether it is whole: which tag lacks
// which blob of which archive, and which bytes are not what their name says.
//
// Start with [Run], which makes a [Report] of a snapshot. It audits
// every repository first (package layoutstore: presence, sizes, manifests), and then
// reads every copy of every blob once, however many tags need it, and the files
// beside the archives that have a checksum there. What is wrong is grouped by its
// cause; [Report.WriteText] is for people, and the report as JSON for programs.
//
// [Scrub] does the same slowly behind a server, without an end.
//
// What a bundle may lack and still be whole: the subject of a referrer, and a layer
// that is not to be distributed (image-spec 1.1, manifest.md and layer.md).
package verify

import (
	"cmp"
	"context"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Options say how a tree is read.
type Options struct {
	Jobs     int      // files that are read at the same time; 0 means one a processor
	Progress Progress // nil is none
}

// Progress is told of what is read. Read is called from several goroutines.
type Progress interface {
	// Begin says how much there is to read: files or entries of archives, and bytes.
	Begin(files int, bytes int64)
	// Read says that n bytes more were read.
	Read(n int)
}

type silent struct{}

func (silent) Begin(int, int64) {}
func (silent) Read(int)         {}

// Run verifies all that a snapshot holds. What is wrong is in the report; the error
// is the context's, layoutstore.ErrStale where a refresh is due, or one that
// layoutstore.Exhausted knows.
func Run(ctx context.Context, s *layoutstore.Snapshot, o Options) (*Report, error) {
	if o.Jobs <= 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = silent{}
	}
	problems := s.ScanProblems()
	r := &run{Options: o, snapshot: s, report: newReport(), causes: newCauses(problems), holders: map[layoutstore.Layout][]string{}, idle: map[copyKey]Unreferenced{},
		unreferenced: newFirst(compareUnreferenced), nonDistributable: newFirst(problem.Compare)}
	if err := r.findHolders(); err != nil {
		return nil, err
	}
	if err := r.audit(ctx); err != nil {
		return nil, err
	}
	r.findChecksums()
	if err := r.readAll(ctx); err != nil {
		return nil, err
	}
	if err := r.tellWrong(ctx); err != nil {
		return nil, err
	}
	r.list()
	r.report.finish(r.causes, problems)
	return r.report, nil
}

// run is one run over a snapshot.
type run struct {
	Options
	snapshot *layoutstore.Snapshot
	// holders are the paths of the repositories that a layout is part of: several,
	// where sources have roots of their own.
	holders map[layoutstore.Layout][]string

	mu     sync.Mutex // guards what follows
	report *Report
	tasks  []task
	causes *causes
	idle   map[copyKey]Unreferenced // in layouts that several repositories hold
	wrong  []wrong

	unreferenced      *first[Unreferenced]
	unreferencedBytes int64
	nonDistributable  *first[layoutstore.Problem]
}

// copyKey is a copy of a blob.
type copyKey struct {
	layout layoutstore.Layout
	digest digest.Digest
}

// wrong is a copy that is not what its name says. There may be as many as tasks, so it
// says no more than it has to.
type wrong struct {
	task   int32  // number of the task that read it
	sum    string // of its bytes, where it could be read
	reason string // why not, else
}

func (w wrong) why(d digest.Digest) string {
	if w.reason != "" {
		return w.reason
	}
	return (&wrongBytes{digest.NewDigestFromBytes(d.Algorithm(), []byte(w.sum))}).Error()
}

// audit checks presence, sizes and manifests, and notes what is left to read.
// Nothing else of an audit is kept, as there may be a million blobs: it is made once
// more for a repository in which blobs prove wrong, to name the tags that they affect.
func (r *run) audit(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Jobs)
	for _, path := range r.snapshot.Paths() {
		group.Go(func() error {
			repo, err := r.snapshot.At(path)
			if err != nil {
				return err
			}
			r.note(repo)
			_, err = r.snapshot.AuditWith(ctx, path, layoutstore.Findings{
				Problem: r.found, NonDistributable: r.leftOut, Blob: func(s layoutstore.Stored) { r.noteCopy(path, s) },
			})
			return err
		})
	}
	return group.Wait()
}

// findHolders notes which repositories hold each layout.
func (r *run) findHolders() error {
	for _, path := range r.snapshot.Paths() {
		repo, err := r.snapshot.At(path)
		if err != nil {
			return err
		}
		for _, l := range repo.Layouts() {
			r.holders[l] = append(r.holders[l], path)
		}
	}
	return nil
}

func (r *run) found(p layoutstore.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.causes.add(p)
}

func (r *run) leftOut(p layoutstore.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nonDistributable.add(p)
}

// note counts a repository.
func (r *run) note(repo *layoutstore.Repository) {
	tags, _ := repo.Tags("", -1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Repositories++
	r.report.Tags += len(tags)
}

// noteCopy notes a copy of a blob: to be read, if no other repository has it.
func (r *run) noteCopy(path string, s layoutstore.Stored) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := copyKey{s.Layout, s.Digest}
	first := r.holders[s.Layout][0] == path
	switch {
	case !first:
	case s.Read:
		r.report.Files++
		r.report.Bytes += s.Where.Size()
	default:
		r.tasks = append(r.tasks, taskOf(s))
	}
	if s.Needed {
		delete(r.idle, key)
		return
	}
	if !first {
		return
	}
	file, entry := s.Layout.WhereBlob(s.Digest)
	u := Unreferenced{file, entry, s.Digest, s.Where.Size()}
	if len(r.holders[s.Layout]) == 1 {
		r.leaveIdle(u)
	} else {
		r.idle[key] = u
	}
}

// leaveIdle notes a blob that nothing leads to.
func (r *run) leaveIdle(u Unreferenced) {
	r.unreferenced.add(u)
	r.unreferencedBytes += u.Size
}

// tellWrong makes problems of the copies that proved wrong, in each repository that has
// them.
func (r *run) tellWrong(ctx context.Context) error {
	byPath := map[string][]int32{} // numbers of wrong copies
	for i, w := range r.wrong {
		for _, path := range r.holders[r.tasks[w.task].layout] {
			byPath[path] = append(byPath[path], int32(i))
		}
	}
	for path, copies := range byPath {
		in, err := r.snapshot.AuditWith(ctx, path, layoutstore.Findings{}) // its problems are known
		if err != nil {
			return err
		}
		for _, i := range copies {
			t := r.tasks[r.wrong[i].task]
			s := layoutstore.Stored{Layout: t.layout, Digest: t.digest}
			if !in.HasRead(t.layout, t.digest) { // for another repository it was, which has the layout too
				r.causes.add(in.DamagedCopy(s, r.wrong[i].why(t.digest)))
			}
		}
	}
	return nil
}

// list puts the bounded lists into the report.
func (r *run) list() {
	for _, u := range r.idle {
		r.leaveIdle(u)
	}
	r.report.Unreferenced = append(r.report.Unreferenced, r.unreferenced.sorted()...)
	r.report.NonDistributable = append(r.report.NonDistributable, r.nonDistributable.sorted()...)
	o := &r.report.Omitted
	o.Unreferenced, o.NonDistributable, o.UnreferencedBytes = r.unreferenced.omitted(), r.nonDistributable.omitted(), r.unreferencedBytes
	for _, u := range r.report.Unreferenced {
		o.UnreferencedBytes -= u.Size
	}
}

func compareUnreferenced(a, b Unreferenced) int {
	return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Entry, b.Entry))
}
