// Package verify reads all content of a tree, and reports whether it is complete and intact. The report says
// which blob of which archive is missing or damaged, and which tags are affected.
//
// Start with [Run], which returns a [Report] about a snapshot. First, it audits every repository with package
// layoutstore, which checks presence, sizes and manifests. Then it reads every copy of every blob, and the
// files that have a checksum. It reads each copy only once, even if many tags need it. Problems are grouped
// by cause. [Report.WriteText] writes the report for people; JSON is for programs.
//
// [Scrub] continuously reads the blobs of a served tree at a low rate.
//
// A complete bundle may omit the subject of a referrer, and non-distributable layers
// (image-spec 1.1, manifest.md and layer.md).
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

// Options configure a run.
type Options struct {
	Jobs int // how many files are read at the same time; 0 means one per processor

	Progress Progress // may be nil
}

// Progress receives the progress of a run. Several goroutines may call Read at the same time.
type Progress interface {
	// Begin reports how many files or archive entries, and how many bytes, are read in total.
	Begin(files int, bytes int64)
	// Read reports that n more bytes were read.
	Read(n int)
}

type silent struct{}

func (silent) Begin(int, int64) {}
func (silent) Read(int)         {}

// Run verifies all content of a snapshot. Problems are not errors: they are part of the report. If the tree
// has to be refreshed first, the error is layoutstore.ErrStale. Other errors are the context's, those for
// which layoutstore.IsExhausted is true, and those of listing a bucket.
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
	for _, step := range []func(context.Context) error{r.findHolders, r.audit, r.findChecksums, r.readAll, r.reportWrong} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	r.reportListed()
	r.list()
	r.report.finish(r.causes, problems)
	return r.report, nil
}

type run struct {
	Options
	snapshot *layoutstore.Snapshot
	// holders has the paths of the repositories to which a layout belongs. There can be several if
	// sources have different roots.
	holders map[layoutstore.Layout][]string

	mu     sync.Mutex // guards the following fields
	report *Report
	tasks  []task
	causes *causes
	idle   map[copyKey]Unreferenced // copies that are unreferenced so far, in layouts that belong to several repositories
	wrong  []wrong

	unreferenced      *first[Unreferenced]
	unreferencedBytes int64
	nonDistributable  *first[layoutstore.Problem]
}

type copyKey struct {
	layout layoutstore.Layout
	digest digest.Digest
}

// wrong describes a damaged copy of a blob. It must be small, because every task may find a damaged copy.
type wrong struct {
	task int32 // position of the task in run.tasks

	sum string // bytes of the content's digest; empty if unknown

	reason string // why the copy is damaged if sum is empty
}

// why returns the reason that the report states for the damaged copy. d is the digest that the copy
// should have.
func (w wrong) why(d digest.Digest) string {
	if w.reason != "" {
		return w.reason
	}
	return (&wrongBytes{digest.NewDigestFromBytes(d.Algorithm(), []byte(w.sum))}).Error()
}

// audit checks presence, sizes and manifests, and schedules the blobs for reading. To save memory, it keeps
// no other results of the audits. For a repository with damaged blobs, reportWrong repeats the audit to find
// the affected tags.
func (r *run) audit(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Jobs)
	for _, path := range r.snapshot.Paths() {
		group.Go(func() error {
			repo, err := r.snapshot.At(path)
			if err != nil {
				return err
			}
			r.countRepository(repo)
			_, err = r.snapshot.AuditWith(ctx, path, layoutstore.Findings{
				Problem: r.addProblem, NonDistributable: r.addNonDistributable, Blob: func(s layoutstore.Stored) { r.addCopy(path, s) },
			})
			return err
		})
	}
	return group.Wait()
}

// findHolders records for each layout to which repositories it belongs.
func (r *run) findHolders(context.Context) error {
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

func (r *run) addProblem(p layoutstore.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.causes.add(p)
}

func (r *run) addNonDistributable(p layoutstore.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nonDistributable.add(p)
}

func (r *run) countRepository(repo *layoutstore.Repository) {
	tags, _ := repo.Tags("", -1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Repositories++
	r.report.Tags += len(tags)
}

// addCopy schedules a copy of a blob for reading, and records whether it is unreferenced. If the layout
// belongs to several repositories, addCopy is called once for each, but schedules the copy only once.
func (r *run) addCopy(path string, s layoutstore.Stored) {
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
		r.addUnreferenced(u)
	} else {
		r.idle[key] = u
	}
}

func (r *run) addUnreferenced(u Unreferenced) {
	r.unreferenced.add(u)
	r.unreferencedBytes += u.Size
}

// reportWrong adds a problem for each damaged copy in each repository that has the copy.
func (r *run) reportWrong(ctx context.Context) error {
	byPath := map[string][]int32{} // positions in r.wrong, by the path of a repository
	for i, w := range r.wrong {
		for _, path := range r.holders[r.tasks[w.task].layout] {
			byPath[path] = append(byPath[path], int32(i))
		}
	}
	for path, copies := range byPath {
		in, err := r.snapshot.AuditWith(ctx, path, layoutstore.Findings{}) // ignore findings, which audit has already reported
		if err != nil {
			return err
		}
		for _, i := range copies {
			t := r.tasks[r.wrong[i].task]
			s := layoutstore.Stored{Layout: t.layout, Digest: t.digest}
			if !in.HasRead(t.layout, t.digest) { // otherwise, the audit has already reported the damage
				p, err := in.DamagedCopy(ctx, s, r.wrong[i].why(t.digest))
				if err != nil {
					return err
				}
				r.causes.add(p)
			}
		}
	}
	return nil
}

func (r *run) list() {
	for _, u := range r.idle {
		r.addUnreferenced(u)
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
