package volume

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sort"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Locate implements [Volume]. If the archive does not match its cached index, opening the located
// blob fails with [extent.ErrStale].
func (a *Archive) Locate(ctx context.Context, layout string, d digest.Digest) (extent.List, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return a.locate(layout, d)
}

// locate is like Locate. It needs no context, because it only uses the index in memory.
func (a *Archive) locate(layout string, d digest.Digest) (extent.List, error) {
	p, ok := a.archivePath(layout)
	l := a.index.layout(p)
	if !ok || l == nil || d.Validate() != nil {
		return nil, fmt.Errorf("%s in %s: %w", d, a, fs.ErrNotExist)
	}
	e, i, ok := l.blob(d)
	if !ok {
		return nil, a.missingBlob(l, d)
	}
	return a.entryExtents(l, i, names.BlobPath(d), e)
}

// LocateCached implements [Cached].
func (a *Archive) LocateCached(layout string, d digest.Digest, size int64) extent.List {
	where, err := a.locate(layout, d)
	if err != nil || where.Size() != size {
		return nil
	}
	return where
}

// missingBlob returns the error for a blob that the layout does not contain or cannot serve.
func (a *Archive) missingBlob(l *tarLayout, d digest.Digest) error {
	p, ok := l.lost[d]
	if again := a.index.copyAgain; !ok && len(again) > 0 {
		p, ok = a.set.seams.lostBlob(problem.Incomplete, problem.Missing, again), true
	}
	if !ok {
		p, ok = a.betweenNeighbors(l, d)
	}
	if ok {
		p.Digest = d
		return &problem.Error{Problem: p}
	}
	return fmt.Errorf("%s in %s: %w", d, a, fs.ErrNotExist)
}

// Blobs implements [Volume].
func (a *Archive) Blobs(ctx context.Context, layout string) ([]digest.Digest, error) {
	p, ok := a.archivePath(layout)
	l := a.index.layout(p)
	if !ok || l == nil {
		return nil, ctx.Err()
	}
	return digestsOf(l.blobs, func(b tarBlob) [sha256.Size]byte { return b.sum }, l.odd), ctx.Err()
}

// digestsOf returns the digests of a layout's blobs in byte order.
func digestsOf[B, O any](blobs []B, sum func(B) [sha256.Size]byte, odd map[digest.Digest]O) []digest.Digest {
	all := slices.AppendSeq(make([]digest.Digest, 0, len(blobs)+len(odd)), maps.Keys(odd))
	for _, b := range blobs {
		s := sum(b)
		all = append(all, digest.NewDigestFromBytes(digest.SHA256, s[:]))
	}
	slices.Sort(all)
	return all
}

// entryExtents returns where an entry is stored. i is the number of the entry in the layout, or
// negative if it has none.
func (a *Archive) entryExtents(l *tarLayout, i int, name string, e tarEntry) (extent.List, error) {
	where, err := a.sliceBase(e.off, e.size)
	if err != nil || !a.cachedIndex || len(where) == 0 || isObject(where[0].File) {
		return where, err
	}
	if i >= 0 {
		if i += l.first; a.checked.has(i) {
			return where, nil
		}
	}
	where[0].File = &uncheckedFile{File: where[0].File, archive: a, name: path.Join(l.path, name), entry: e, number: i}
	return where, nil
}

// beginsOf returns the offset at which each extent of the list begins.
func beginsOf(list extent.List) []int64 {
	begins := make([]int64, len(list))
	var size int64
	for i, e := range list {
		begins[i] = size
		size += e.Len
	}
	return begins
}

// sliceBase returns the same list as base.Slice. It uses a binary search, because an archive may
// have very many chunks.
func (a *Archive) sliceBase(off, n int64) (extent.List, error) {
	i := max(sort.Search(len(a.begins), func(i int) bool { return a.begins[i] > off })-1, 0)
	j := max(sort.Search(len(a.begins), func(i int) bool { return a.begins[i]-off >= n }), i)
	if i == j || off < 0 || n < 0 {
		return a.base.Slice(off, n) // the range is empty or invalid, so Slice returns nothing or an error
	}
	return a.base[i:j].Slice(off-a.begins[i], n)
}
