package volume

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Archive is a tar archive of layouts, in one file or cut into chunks, read in place.
// Its headers are read once. Every entry is a slice of the files.
type Archive struct {
	set       Set
	base      extent.List
	begins    []int64 // where each extent of base begins in the archive
	index     *tarIndex
	misplaced []problem.Problem
	prefix    string // put before the paths of an archive of the old form; ends with a slash

	// cachedIndex is set if another process made the index. Then an entry's header is
	// checked before the entry is first read.
	cachedIndex bool
	checked     bitSet      // entries whose headers were checked: see tarLayout.first
	saved       atomic.Bool // SaveIndex was called
	written     atomic.Bool // the index is beside the archive, in a bucket
	documents   documents   // of an archive in a bucket
	stale       atomic.Bool // an entry was not where the cached index says
}

// IsStale reports whether the cached index turned out not to match the archive.
func (a *Archive) IsStale() bool { return a.stale.Load() }

// OpenArchive reads the headers of an archive, unless an index of exactly these files is in the
// cache, or beside the archive in its bucket. Errors: the context's; those of opening and reading
// the files. Problems of the archive itself are in [Archive.Problem] and [Archive.Layouts].
func OpenArchive(ctx context.Context, set Set, cache Cache) (*Archive, error) {
	a := &Archive{set: set, base: set.list()}
	a.begins = beginsOf(a.base)
	if a.index, a.cachedIndex = cache.load(set); !a.cachedIndex {
		a.index = set.loadBeside(ctx)
		a.written.Store(a.index != nil)
	}
	if a.index == nil {
		var err error
		if a.index, err = scanTar(ctx, set); err != nil {
			return nil, err
		}
	}
	a.documents.texts, a.index.documents = a.index.documents, nil
	name := cmp.Or(set.As, set.Name)
	a.prefix, a.misplaced = legacyPrefix(name, a.index.layouts), findMisplaced(name, a.index.layouts)
	if a.cachedIndex {
		a.trackChecks()
	}
	return a, nil
}

// trackChecks allocates the set of entries whose headers were checked.
func (a *Archive) trackChecks() {
	n := 0
	for i := range a.index.layouts {
		l := &a.index.layouts[i]
		l.first = n
		n += 1 + len(l.blobs)
	}
	a.checked = make(bitSet, (n+31)/32)
}

// SaveIndex writes the index to cache, unless it came from there or the archive is incomplete. Call
// it when nobody waits: writing a file takes longer than reading the headers of a small archive.
func (a *Archive) SaveIndex(cache Cache) {
	if !a.cachedIndex && a.saved.CompareAndSwap(false, true) {
		cache.store(a.set, a.index, a.documents.all())
	} else if cache != "" {
		cache.use(a.set, time.Now())
	}
}

// Problem returns why the archive is incomplete; ok is false if it is complete. The reason
// names the missing chunks first, then what is wrong with the others. The problem has no path.
func (a *Archive) Problem() (p problem.Problem, ok bool) {
	missing := a.set.seams.missingText()
	if a.index.broken != nil {
		p = *a.index.broken
	}
	if missing == "" {
		return p, a.index.broken != nil
	}
	switch {
	case a.index.broken == nil:
		end, _ := a.set.seams.at(a.index.end - 1)
		p.Reason = fmt.Sprintf("%s; or the chunks behind it are left from another archive: this one ends in %s", missing, chunkLabel(end))
	case p.Reason == "": // the chain of headers ends where the chunk is missing
		p.Reason = missing
	default:
		p.Reason = missing + "; " + p.Reason
	}
	p.Kind, p.TagsUnknown, p.Suspects, p.Chunks = problem.Incomplete, true, true, a.set.seams.missing[0].names()
	return p, true
}

func (a *Archive) String() string { return a.set.Path() }

// Where implements [Volume].
func (a *Archive) Where(layout string) (path, entry string) {
	return a.set.Path(), strings.TrimPrefix(layout, a.prefix)
}

// Layouts implements [Volume].
func (a *Archive) Layouts(ctx context.Context) (Listing, error) {
	if err := ctx.Err(); err != nil {
		return Listing{}, err
	}
	var found Listing
	found.Problems = slices.Concat(a.index.problems, a.misplaced)
	for i := range a.index.layouts {
		l := &a.index.layouts[i]
		if !l.index.exists() {
			if p, ok := a.noIndex(l); ok {
				found.Problems = append(found.Problems, p)
			}
			continue
		}
		where, err := a.entryExtents(l, 0, "index.json", l.index)
		if err != nil {
			return Listing{}, err
		}
		if a.set.beside != nil {
			where = a.documentExtent(l.path, where)
		}
		found.Layouts = append(found.Layouts, Layout{
			Path:  a.treePath(l.path),
			Index: where,
			Stamp: Stamp{ID: fmt.Sprintf("%s %d %d", a.set.identity, l.index.off, l.index.size), Settled: true},
		})
	}
	return found, nil
}

// noIndex returns the problem of a layout without an index.json. ok is false if the layout is empty.
func (a *Archive) noIndex(l *tarLayout) (p problem.Problem, ok bool) {
	if p, ok = l.lost[""]; ok {
		p.Entry = path.Join(l.path, "index.json")
		return p, true
	}
	p = lostBlob(problem.Incomplete, "blobs of an OCI layout without its index.json", a.index.copyAgain)
	p.Entry = l.path
	return p, len(l.blobs) > 0 || len(l.odd) > 0 || len(l.lost) > 0
}

// treePath returns the path in the tree of the layout at p in the archive.
func (a *Archive) treePath(p string) string {
	if a.prefix == "" {
		return p
	}
	return path.Join(a.prefix, p)
}

// archivePath returns the path in the archive of the layout at p in the tree.
func (a *Archive) archivePath(p string) (string, bool) {
	if p+"/" == a.prefix {
		return ".", true
	}
	return strings.CutPrefix(p, a.prefix)
}
