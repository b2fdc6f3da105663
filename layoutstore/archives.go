package layoutstore

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// scanArchives scans the archives that were found in the source's directory. It reuses the last
// state of an archive whose files are unchanged. It postpones an archive that has just changed,
// because a program may still be writing it. It never postpones imported archives, because they are
// complete.
func (s *source) scanArchives(ctx context.Context, next *sourceState, found volume.Found, store *journal.View, now time.Time) error {
	before := map[string]*volumeState{}
	for _, h := range s.last.archives {
		before[h.name] = h.withTags()
	}
	for _, p := range found.Problems {
		name, _ := volume.IsArchive(p.Path)
		p.Path = volume.JoinPath(found.Dir, p.Path)
		p.TagsUnknown = (p.Kind == Limited || p.Kind == Incomplete) && !p.Harmless
		next.problems = append(next.problems, p)
		if h := before[name]; h != nil && p.Transient {
			next.archives = append(next.archives, h) // keep the last good state
			delete(before, name)
		}
	}
	have := map[string]bool{}
	for _, h := range next.archives {
		have[h.name] = true
	}
	sets := slices.DeleteFunc(slices.Clone(found.Sets), func(set volume.Set) bool { return have[set.Name] })
	scanned := make([]*volumeState, len(sets))
	again := make([]time.Duration, len(sets))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, set := range sets {
		group.Go(func() (err error) {
			settle := s.settle
			if _, generation := store.PackedAs(set.Name); generation > 0 || s.bucket != nil && !set.Chunked {
				settle = 0 // do not wait: imported archives and objects are complete when they appear
			}
			scanned[i], again[i], err = s.scanArchive(ctx, set, before[set.Name], now, settle)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, d := range again {
		next.again = sooner(next.again, d)
	}
	next.archives = append(next.archives, scanned...)
	for i, h := range next.archives {
		if store.IsRetired(h.name) {
			next.archives[i] = s.last.withoutTags(h)
		}
	}
	slices.SortFunc(next.archives, func(a, b *volumeState) int {
		nameA, ageA := store.PackedAs(a.name)
		nameB, ageB := store.PackedAs(b.name)
		return cmp.Or(cmp.Compare(ageA, ageB), CompareArchives(nameA, nameB), strings.Compare(a.name, b.name))
	})
	return nil
}

// withoutTags returns a copy of h without tags, so that manifests are served by digest only.
func (h *volumeState) withoutTags() *volumeState {
	bare := *h
	bare.tagged, bare.layouts = h, make([]*indexedLayout, len(h.layouts))
	for i, l := range h.layouts {
		p := *l
		p.index = l.index.withoutTags()
		bare.layouts[i] = &p
	}
	return &bare
}

// withoutTags is like the method of h. If st already contains the copy of h, it returns that copy, so that an
// unchanged archive keeps its layouts, and its repositories are reused.
func (st *sourceState) withoutTags(h *volumeState) *volumeState {
	for _, old := range st.archives {
		if old.tagged == h {
			return old
		}
	}
	return h.withoutTags()
}

// withTags undoes withoutTags: if h is a copy without tags, it returns the original; otherwise, h.
func (h *volumeState) withTags() *volumeState { return cmp.Or(h.tagged, h) }

// scanArchive scans one archive. prev is its state after the last scan, or nil. The result again is
// the time to wait before the next scan; 0 means that only a change makes another scan necessary.
func (s *source) scanArchive(ctx context.Context, set volume.Set, prev *volumeState, now time.Time, settle time.Duration) (h *volumeState, again time.Duration, err error) {
	h = &volumeState{name: set.Name, identity: set.Identity(), written: set.Written(), status: SourceStatus{Path: set.Path(), Kind: "tar"}}
	if set.Chunked {
		h.status.Kind = "chunks"
	}
	var old []*indexedLayout
	written := prev == nil || prev.written != h.written
	if prev != nil {
		old = prev.layouts
	}
	switch {
	case !written:
		h.changedAt = prev.changedAt
	case s.scanned:
		h.changedAt = now
	}
	opened := !written && prev.vol != nil
	if opened && prev.identity == h.identity && !prev.unreadable && !prev.moved && !prev.vol.(*volume.Archive).IsStale() {
		return prev, 0, nil
	}
	age := h.age(set, now)
	// An earlier scan has read this archive or failed to read it, and no program has written it
	// since. So there is no need to wait.
	known := opened || !written && prev.unreadable
	if s.scanned && !known && age < settle {
		h.setState("waiting", "it changed a moment ago")
		return h, settle - age, nil
	}
	archive, listing, err := s.openArchive(ctx, set, prev)
	if err != nil {
		if ctx.Err() != nil || IsExhausted(err) {
			return nil, 0, err
		}
		return s.unreadable(h, prev, err)
	}
	broken, isBroken := archive.Problem()
	if isBroken && age < settle {
		h.setState("waiting", broken.Reason)
		return h, settle - age, nil
	}
	if s.opened != nil && len(listing.Layouts) > 0 {
		if err := s.reportFiles(ctx, set, archive); err != nil {
			return h, 0, err
		}
	}
	h.vol, h.status.State = archive, "ready"
	if isBroken {
		h.setState("incomplete", broken.Reason)
		broken.Path = set.Path()
		h.problems = append(h.problems, broken)
	}
	if err := h.readLayouts(ctx, listing, old); err != nil || !archive.IsStale() {
		return h, 0, err
	}
	// The cached index does not match these files, so scan again without the cache.
	h.layouts, h.problems = nil, nil
	return s.scanArchive(ctx, set, h, now, settle)
}

// reportFiles passes each file of a set to [Options.Opened] if it was read, and to [Options.Unread]
// if not. The error is the cause of ctx.
func (s *source) reportFiles(ctx context.Context, set volume.Set, archive *volume.Archive) error {
	files, err := archive.ReadFiles(ctx)
	if err != nil {
		return err
	}
	read := map[string]bool{}
	for _, f := range files {
		read[f.Path] = true
		s.opened(f.Info)
	}
	if s.unread == nil {
		return nil
	}
	for _, f := range set.Files() {
		if !read[f.Path] {
			s.unread(f.Info)
		}
	}
	return nil
}

// age returns how long the files have been unchanged. At the first scan, only their modification
// times count. age ignores times in the future.
func (h *volumeState) age(set volume.Set, now time.Time) time.Duration {
	changed := h.changedAt
	if set.Changed.After(changed) && !set.Changed.After(now) {
		changed = set.Changed
	}
	return now.Sub(changed)
}

func (h *volumeState) setState(state, detail string) { h.status.State, h.status.Detail = state, detail }

// openArchive opens an archive and lists its layouts. It ignores a cached index that is wrong.
func (s *source) openArchive(ctx context.Context, set volume.Set, prev *volumeState) (*volume.Archive, volume.Listing, error) {
	cache := s.cache
	if prev != nil && prev.vol != nil && prev.identity == set.Identity() {
		cache = "" // the last scan found that the cached index is wrong
	}
	for {
		archive, err := volume.OpenArchive(ctx, set, cache)
		if err != nil {
			return nil, volume.Listing{}, err
		}
		listing, err := archive.Layouts(ctx)
		if errors.Is(err, ErrStale) && cache != "" {
			cache = ""
			continue
		}
		return archive, listing, err
	}
}

// unreadable returns the state of an archive that cannot be read. If its files were neither written nor
// replaced since the last scan, the layouts that the last scan found are still served.
func (s *source) unreadable(h, prev *volumeState, cause error) (*volumeState, time.Duration, error) {
	if errors.Is(cause, ErrStale) {
		h.moved = true
		h.setState("waiting", "it changed while it was being read")
		return h, max(s.settle, time.Second), nil
	}
	if prev != nil && prev.written == h.written {
		h.vol, h.layouts, h.status.Repositories = prev.vol, prev.layouts, prev.status.Repositories
	}
	h.unreadable = true
	h.setState("failing", cause.Error())
	h.problems = append(h.problems, Problem{Kind: Damaged, Path: h.status.Path, Reason: cause.Error(), TagsUnknown: true, Transient: IsTransient(cause)})
	return h, 0, nil
}
