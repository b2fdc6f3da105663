package layoutstore

import (
	"cmp"
	"context"
	"errors"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// readLayouts reads the layouts in a listing of the volume, and adds their problems. old are the
// layouts that the last scan found. The errors are those of readIndexes.
func (h *volumeState) readLayouts(ctx context.Context, listing volume.Listing, old []*indexedLayout) error {
	if err := h.readIndexes(ctx, listing.Layouts, old); err != nil {
		return err
	}
	have := make(map[string]bool, len(h.layouts))
	for _, p := range h.layouts {
		have[p.path] = true
	}
	for _, p := range slices.Concat(listing.Problems, listing.Nested) {
		h.addVolumeProblem(p, old, have)
	}
	slices.SortFunc(h.layouts, func(a, b *indexedLayout) int { return strings.Compare(a.path, b.path) })
	h.status.Repositories = len(h.layouts)
	return nil
}

// readIndexes parses the index of each layout. If the file of an index is unchanged, it reuses the
// previous index. If a new index is invalid, the last good state is still served. The error is the
// context's, or one for which [IsExhausted] is true.
func (h *volumeState) readIndexes(ctx context.Context, layouts []volume.Layout, old []*indexedLayout) error {
	before := map[string]*indexedLayout{}
	for _, p := range old {
		before[p.path] = p
	}
	read := make([]*indexedLayout, len(layouts))
	failed := make([]error, len(layouts))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, l := range layouts {
		prev := before[l.Path]
		if prev != nil && prev.vol == h.vol && l.Stamp.Same(prev.stamp) {
			read[i] = prev
			continue
		}
		group.Go(func() error {
			if read[i], failed[i] = h.readLayout(ctx, l, prev); IsExhausted(failed[i]) || errors.Is(failed[i], bucket.ErrUnreachable) {
				return failed[i]
			}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, p := range read {
		if p != nil {
			h.layouts = append(h.layouts, p)
		}
		if err := failed[i]; err != nil {
			h.moved = h.moved || errors.Is(err, ErrStale)
			h.addIndexProblem(layouts[i], p != nil, err)
		}
	}
	return nil
}

// readLayout reads the index of a layout. prev is the layout's last good state, or nil. After an
// error, readLayout also returns prev if prev is from the same volume.
func (h *volumeState) readLayout(ctx context.Context, l volume.Layout, prev *indexedLayout) (*indexedLayout, error) {
	var old *index
	if prev != nil {
		old = prev.index
	}
	ix, err := readIndex(ctx, l, old)
	if err != nil {
		if prev != nil && prev.vol != h.vol {
			prev = nil // the state is that of another archive
		}
		return prev, err
	}
	if prev != nil && prev.vol == h.vol && ix == prev.index && l.Stamp == prev.stamp {
		return prev, nil
	}
	return &indexedLayout{vol: h.vol, path: l.Path, stamp: l.Stamp, index: ix, indexFile: l.Index}, nil
}

func (h *volumeState) addIndexProblem(l volume.Layout, kept bool, err error) {
	kind, reason := Damaged, err.Error()
	if errors.Is(err, errTooLarge) {
		kind = Limited
	}
	if kept {
		reason += ": the last good state is still served"
	}
	path, entry := h.vol.Where(l.Path)
	if entry == "" {
		path = l.Index.String()
	} else {
		entry = strings.TrimPrefix(entry+"/index.json", "./")
	}
	h.problems = append(h.problems, Problem{Kind: kind, Path: path, Entry: entry, Reason: reason, TagsUnknown: !kept, Transient: IsTransient(err)})
}

// addVolumeProblem adds a problem of the volume. If the problem is transient, the layouts in old
// that it affects are kept. have is the set of paths with a layout.
func (h *volumeState) addVolumeProblem(found Problem, old []*indexedLayout, have map[string]bool) {
	if found.Transient {
		for _, p := range affectedLayouts(found.Path, old) {
			if p.vol == h.vol && !have[p.path] {
				h.layouts, have[p.path] = append(h.layouts, p), true
			}
		}
	}
	below := found.Path
	found.Path = h.vol.String()
	if below != "" {
		found.Path, _ = h.vol.Where(below)
	}
	isBlob := strings.Contains("/"+found.Entry, "/blobs/")
	found.TagsUnknown = found.Kind != Conflict && !found.Harmless && !isBlob
	h.problems = append(h.problems, found)
}

// affectedLayouts returns the layouts that a problem at problemPath affects. These are the layouts
// at or below this path and, if the path is an index.json, its layout. layouts must be sorted by
// path, for a binary search.
func affectedLayouts(problemPath string, layouts []*indexedLayout) []*indexedLayout {
	if problemPath == "." {
		return layouts
	}
	at := func(path string) int {
		i, _ := slices.BinarySearchFunc(layouts, path, func(p *indexedLayout, path string) int { return strings.Compare(p.path, path) })
		return i
	}
	var all []*indexedLayout
	take := func(path string) {
		if i := at(path); i < len(layouts) && layouts[i].path == path {
			all = append(all, layouts[i])
		}
	}
	take(problemPath)
	if dir, file := path.Split(problemPath); file == "index.json" {
		take(cmp.Or(strings.TrimSuffix(dir, "/"), "."))
	}
	return append(all, layouts[at(problemPath+"/"):at(problemPath+"0")]...) // in byte order, 0 follows the slash
}
