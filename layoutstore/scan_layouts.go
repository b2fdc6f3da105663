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

	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// read makes parts and problems of what a look into the volume found; old are the
// parts that the volume had before.
func (h *held) read(ctx context.Context, listing volume.Listing, old []*part) error {
	if err := h.readIndexes(ctx, listing.Layouts, old); err != nil {
		return err
	}
	have := make(map[string]bool, len(h.parts))
	for _, p := range h.parts {
		have[p.path] = true
	}
	for _, p := range slices.Concat(listing.Problems, listing.Nested) {
		h.unserved(p, old, have)
	}
	slices.SortFunc(h.parts, func(a, b *part) int { return strings.Compare(a.path, b.path) })
	h.status.Repositories = len(h.parts)
	return nil
}

// readIndexes makes a part of each layout, from the index it had where nothing
// was written since, else from what it reads now. Where that is no index, the
// last good state stays. The error is the context's, or one that [Exhausted] knows.
func (h *held) readIndexes(ctx context.Context, layouts []volume.Layout, old []*part) error {
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
		if prev != nil && prev.vol == h.vol && l.Stamp.Same(prev.stamp) {
			parts[i] = prev
			continue
		}
		group.Go(func() error {
			if parts[i], failed[i] = h.readPart(l, prev); IsExhausted(failed[i]) {
				return failed[i]
			}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, p := range parts {
		if p != nil {
			h.parts = append(h.parts, p)
		}
		if err := failed[i]; err != nil {
			h.moved = h.moved || errors.Is(err, ErrStale)
			h.indexProblem(layouts[i], p != nil, err)
		}
	}
	return nil
}

// readPart reads the index of a layout; prev is its last good state or nil, and
// what it falls back to beside an error.
func (h *held) readPart(l volume.Layout, prev *part) (*part, error) {
	var old *index
	if prev != nil {
		old = prev.index
	}
	ix, err := readIndex(l, old)
	if err != nil {
		if prev != nil && prev.vol != h.vol {
			prev = nil // another archive's
		}
		return prev, err
	}
	if prev != nil && prev.vol == h.vol && ix == prev.index && l.Stamp == prev.stamp {
		return prev, nil
	}
	return &part{h.vol, l.Path, l.Stamp, ix, l.Index}, nil
}

func (h *held) indexProblem(l volume.Layout, kept bool, err error) {
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
	h.problem(Problem{Kind: kind, Path: path, Entry: entry, Reason: reason, TagsUnknown: !kept, Transient: IsTransient(err)})
}

// unserved adds a problem of the volume, and keeps what was there before where the problem
// says nothing about that; have are the paths that the held has parts of.
func (h *held) unserved(found Problem, old []*part, have map[string]bool) {
	if found.Transient {
		for _, p := range concerned(found.Path, old) {
			if p.vol == h.vol && !have[p.path] {
				h.parts, have[p.path] = append(h.parts, p), true
			}
		}
	}
	below := found.Path
	found.Path = h.vol.String()
	if below != "" {
		found.Path, _ = h.vol.Where(below)
	}
	found.TagsUnknown = found.Kind != Conflict && !found.Harmless && !isBlob(found.Entry)
	h.problem(found)
}

// concerned are those of the parts, which are sorted by their paths, that a problem at the
// path fault is about: the layout there and those below, or the one whose index it is.
// Faults may be as many as parts, so it does not go through all of them.
func concerned(fault string, parts []*part) []*part {
	if fault == "." {
		return parts
	}
	at := func(path string) int {
		i, _ := slices.BinarySearchFunc(parts, path, func(p *part, path string) int { return strings.Compare(p.path, path) })
		return i
	}
	var all []*part
	take := func(path string) {
		if i := at(path); i < len(parts) && parts[i].path == path {
			all = append(all, parts[i])
		}
	}
	take(fault)
	if dir, file := path.Split(fault); file == "index.json" {
		take(cmp.Or(strings.TrimSuffix(dir, "/"), "."))
	}
	return append(all, parts[at(fault+"/"):at(fault+"0")]...) // 0 is the byte behind the slash
}

// isBlob says whether an entry of an archive lies where blobs do.
func isBlob(entry string) bool { return strings.Contains("/"+entry, "/blobs/") }

func (h *held) problem(p Problem) { h.problems = append(h.problems, p) }
