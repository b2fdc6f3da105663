package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// source is one SOURCE of the user's, and its state after the last scan. A scan
// makes a new state and leaves the old one as it was.
type source struct {
	path string
	sourceState
}

type sourceState struct {
	vol      *volume.Dir
	parts    []*part // by path
	problems []Problem
	dirs     []string // in which a change may be one of the tree
	status   SourceStatus
}

// openSource opens a source that has to be there.
func openSource(path string) (*source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, sourceError(path, err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("source %s: not a directory; unpack archives into a directory of their own each", path)
	}
	vol, err := volume.OpenDir(path)
	if err != nil {
		return nil, sourceError(path, err)
	}
	return &source{path: path, sourceState: sourceState{vol: vol}}, nil
}

// sourceError says what is wrong with a source, without the name of the system call.
func sourceError(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("source %s: %w", path, err)
}

// scan looks at the source anew. The error is the context's.
func (s *source) scan(ctx context.Context) (sourceState, error) {
	next := sourceState{status: SourceStatus{Path: s.path, Kind: "directory", State: "ready"}}
	vol, err := s.reopen()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		next.problem(Incomplete, s.path, "the source is gone: its repositories are not served")
		next.status.State, next.status.Detail = "missing", err.Error()
		return next, nil
	case err != nil:
		next.vol, next.parts, next.dirs = s.vol, s.parts, s.dirs
		next.problem(Damaged, s.path, fmt.Sprintf("%v: what was there before is still served", err))
		next.status.State, next.status.Detail = "failing", err.Error()
		return next, nil
	}
	next.vol = vol
	listing, err := vol.Layouts(ctx)
	if err != nil {
		return sourceState{}, err
	}
	if err := next.readIndexes(ctx, listing.Layouts, s.parts); err != nil {
		return sourceState{}, err
	}
	for _, f := range listing.Faults {
		next.fault(f, s.parts)
	}
	next.archives()
	next.dirs = listing.Dirs
	slices.SortFunc(next.parts, func(a, b *part) int { return strings.Compare(a.path, b.path) })
	next.status.Repositories = len(next.parts)
	return next, nil
}

// reopen opens the source's path anew, as it may be a link that was set to
// another directory, and returns the volume we have if it is the same still.
func (s *source) reopen() (*volume.Dir, error) {
	vol, err := volume.OpenDir(s.path)
	if err != nil {
		return nil, err
	}
	if s.vol != nil && vol.SameAs(s.vol) {
		return s.vol, nil
	}
	return vol, nil
}

// readIndexes makes a part of each layout, from the index it had where nothing
// was written since, else from what it reads now. Where that is no index, the
// last good state stays.
func (st *sourceState) readIndexes(ctx context.Context, layouts []volume.Layout, old []*part) error {
	before := map[string]*part{}
	for _, p := range old {
		before[p.path] = p
	}
	parts := make([]*part, len(layouts))
	failed := make([]error, len(layouts))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, l := range layouts {
		prev := before[l.Path]
		if prev != nil && prev.vol == st.vol && l.Stamp.Same(prev.stamp) {
			parts[i] = prev
			continue
		}
		group.Go(func() error {
			parts[i], failed[i] = st.readPart(l, prev)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, p := range parts {
		if p != nil {
			st.parts = append(st.parts, p)
		}
		if err := failed[i]; err != nil {
			st.indexProblem(layouts[i], p != nil, err)
		}
	}
	return nil
}

// readPart reads the index of a layout; prev is its last good state or nil, and
// what it falls back to beside an error.
func (st *sourceState) readPart(l volume.Layout, prev *part) (*part, error) {
	var old *index
	if prev != nil {
		old = prev.index
	}
	ix, err := readIndex(l, old)
	if err != nil {
		return prev, err
	}
	if prev != nil && prev.vol == st.vol && ix == prev.index && l.Stamp == prev.stamp {
		return prev, nil
	}
	return &part{st.vol, l.Path, l.Stamp, ix}, nil
}

func (st *sourceState) indexProblem(l volume.Layout, kept bool, err error) {
	kind, reason := Damaged, err.Error()
	if errors.Is(err, errTooLarge) {
		kind = Limited
	}
	if kept {
		reason += ": the last good state is still served"
	}
	st.problem(kind, l.Index.String(), reason)
}

// fault makes a problem of what the volume could not read, and keeps what was
// there before where the trouble says nothing of it.
func (st *sourceState) fault(f volume.Fault, old []*part) {
	reason := f.Err.Error()
	if f.Passing {
		have := map[string]bool{}
		for _, p := range st.parts {
			have[p.path] = true
		}
		for _, p := range old {
			if p.vol == st.vol && !have[p.path] && concerns(f.Path, p.path) {
				st.parts = append(st.parts, p)
			}
		}
	}
	st.problem(f.Kind, filepath.Join(st.vol.String(), f.Path), reason)
}

// concerns says whether a fault at the path fault speaks of the layout at path layout.
func concerns(fault, layout string) bool {
	if fault == "." || fault == layout || strings.HasPrefix(layout, fault+"/") {
		return true
	}
	index := layout + "/index.json"
	if layout == "." {
		index = "index.json"
	}
	return fault == index
}

// archives reports the archives in the directory, which are not read.
func (st *sourceState) archives() {
	names, _ := filepath.Glob(filepath.Join(st.vol.String(), "*"))
	for _, name := range names {
		if ext := filepath.Ext(name); (ext == ".tar" || ext == ".chunk") && !strings.HasPrefix(filepath.Base(name), ".") {
			st.problem(Limited, name, "archives are not served yet: unpack each into a directory of its own and give all of them as sources")
		}
	}
}

func (st *sourceState) problem(kind Kind, path, reason string) {
	st.problems = append(st.problems, Problem{Kind: kind, Path: path, Reason: reason})
}
