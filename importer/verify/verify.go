// Package verify reads a whole tree and says whether it is whole: which tag lacks
// which blob of which archive, and which bytes are not what their name says.
//
// Start with [Run], which makes a [Report] of a snapshot. It takes the inventory of
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
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore"
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
	r := &run{Options: o, snapshot: s, report: newReport(), holders: map[layoutstore.Layout][]string{}, idle: map[copyKey]Unreferenced{}}
	if err := r.takeInventory(ctx); err != nil {
		return nil, err
	}
	r.findChecksums()
	if err := r.readAll(ctx); err != nil {
		return nil, err
	}
	if err := r.tellWrong(ctx); err != nil {
		return nil, err
	}
	r.report.group(r.gaps, s.ScanProblems())
	return r.report, nil
}

// run is one run over a snapshot.
type run struct {
	Options
	snapshot *layoutstore.Snapshot

	mu     sync.Mutex // guards what follows
	report *Report
	tasks  []task
	gaps   []layoutstore.Gap
	// holders are the paths of the repositories that a layout is part of: several,
	// where sources have roots of their own.
	holders map[layoutstore.Layout][]string
	idle    map[copyKey]Unreferenced
	wrong   []wrong
}

// copyKey is a copy of a blob.
type copyKey struct {
	layout layoutstore.Layout
	digest digest.Digest
}

// wrong is a copy that is not what its name says.
type wrong struct {
	layoutstore.Stored
	reason string
}

// takeInventory looks at presence and sizes, and notes what is to be read. Nothing
// else of an inventory is kept: it is taken once more where bytes prove wrong.
func (r *run) takeInventory(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Jobs)
	for _, path := range r.snapshot.Paths() {
		group.Go(func() error {
			repo, err := r.snapshot.At(path)
			if err != nil {
				return err
			}
			in, err := r.snapshot.Inventory(ctx, path)
			if err == nil {
				r.note(path, repo, in)
			}
			return err
		})
	}
	return group.Wait()
}

// note takes in the inventory of the repository at path.
func (r *run) note(path string, repo *layoutstore.Repository, in *layoutstore.Inventory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tags, _ := repo.Tags("", -1)
	r.report.Repositories++
	r.report.Tags += len(tags)
	r.gaps = append(r.gaps, in.Gaps...)
	r.report.NonDistributable = append(r.report.NonDistributable, in.NonDistributable...)
	for _, l := range repo.Layouts() {
		r.holders[l] = append(r.holders[l], path)
	}
	for _, s := range in.Blobs {
		r.noteCopy(path, s)
	}
}

// noteCopy notes a copy of a blob: to be read, if no other repository has it.
func (r *run) noteCopy(path string, s layoutstore.Stored) {
	key := copyKey{s.Layout, s.Digest}
	first := r.holders[s.Layout][0] == path
	if first {
		r.tasks = append(r.tasks, taskOf(s))
	}
	if s.Needed {
		delete(r.idle, key)
	} else if first {
		file, entry := s.Layout.WhereBlob(s.Digest)
		r.idle[key] = Unreferenced{file, entry, s.Digest, s.Where.Size()}
	}
}

// tellWrong makes gaps of the copies that proved wrong, in each repository that has
// them.
func (r *run) tellWrong(ctx context.Context) error {
	type place struct{ repository, path, entry, reason string }
	told := map[place]bool{} // a manifest's bytes were looked at twice
	for _, g := range r.gaps {
		told[place{g.Repository, g.Path, g.Entry, g.Reason}] = true
	}
	byPath := map[string][]wrong{}
	for _, w := range r.wrong {
		for _, path := range r.holders[w.Layout] {
			byPath[path] = append(byPath[path], w)
		}
	}
	for path, copies := range byPath {
		in, err := r.snapshot.Inventory(ctx, path)
		if err != nil {
			return err
		}
		for _, w := range copies {
			if g := in.Wrong(w.Stored, w.reason); !told[place{g.Repository, g.Path, g.Entry, g.Reason}] {
				r.gaps = append(r.gaps, g)
			}
		}
	}
	for _, u := range r.idle {
		r.report.Unreferenced = append(r.report.Unreferenced, u)
	}
	slices.SortFunc(r.report.NonDistributable, compareGaps)
	slices.SortFunc(r.report.Unreferenced, func(a, b Unreferenced) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Entry, b.Entry))
	})
	return nil
}
