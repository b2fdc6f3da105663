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

// Archive is a tar archive of layouts that is read in place, without unpacking it. It may be cut
// into chunks. Its headers are read once. An entry is a slice of the archive's files.
type Archive struct {
	set       Set
	base      extent.List
	begins    []int64 // the offset in the archive at which each extent of base begins
	index     *tarIndex
	misplaced []problem.Problem
	prefix    string // added in front of each path in an archive of the old form; ends with a slash

	// cachedIndex is set if the index was loaded from the cache. Then the header of an entry is
	// checked before the entry is first read, unless the archive is in a bucket.
	cachedIndex bool
	// checked contains the entries whose headers have been checked, by number (see tarLayout.first).
	checked bitSet
	// saved means that SaveIndex was called.
	saved atomic.Bool
	// written means that the index of an archive in a bucket is stored beside it.
	written atomic.Bool
	// documents contains the index.json files of an archive in a bucket.
	documents documents
	// stale means that an entry was not where the cached index says.
	stale atomic.Bool
}

// IsStale reports whether the archive turned out not to match its cached index.
func (a *Archive) IsStale() bool { return a.stale.Load() }

// OpenArchive opens an archive. It reads all headers unless the cache, or the bucket of the
// archive, contains an index of the files in their current state. It fails if ctx ends or the files
// cannot be read. Problems of the archive itself are in [Archive.Problem] and [Archive.Layouts].
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

// trackChecks prepares the set of entries whose headers have been checked.
func (a *Archive) trackChecks() {
	n := 0
	for i := range a.index.layouts {
		l := &a.index.layouts[i]
		l.first = n
		n += 1 + len(l.blobs)
	}
	a.checked = make(bitSet, (n+31)/32)
}

// SaveIndex stores the index in the cache, unless the index comes from the cache or the archive is
// incomplete. Call it when no client is waiting, because writing a file takes longer than reading
// the headers of a small archive.
func (a *Archive) SaveIndex(cache Cache) {
	if !a.cachedIndex && a.saved.CompareAndSwap(false, true) {
		cache.store(a.set, a.index, a.documents.all())
	} else if cache != "" {
		cache.use(a.set, time.Now())
	}
}

// Problem returns why the archive is incomplete. ok is false if it is complete. The reason first
// names missing chunks, and then what is wrong with the other chunks. The problem has no path.
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
		p.Reason = fmt.Sprintf("%s; or the archive ends in %s, and the later chunks are left over from a longer archive", missing, chunkLabel(end))
	case p.Reason == "": // the headers end because the chunk is missing
		p.Reason = missing
	default:
		p.Reason = missing + "; " + p.Reason
	}
	p.Kind, p.TagsUnknown, p.Chunks = problem.Incomplete, true, a.set.seams.missing[0].names()
	p.Suspects = a.index.broken == nil // these chunks may never have existed
	return p, true
}

func (a *Archive) String() string { return a.set.Path() }

// Where implements [Volume].
func (a *Archive) Where(layout string) (path, entry string) {
	entry, ok := a.archivePath(layout)
	if !ok {
		entry = layout
	}
	return a.set.Path(), entry
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

// noIndex returns the problem of a layout without an index.json. ok is false if the layout is
// empty, which is not a problem.
func (a *Archive) noIndex(l *tarLayout) (p problem.Problem, ok bool) {
	if p, ok = l.lost[""]; ok {
		p.Entry = path.Join(l.path, "index.json")
		return p, true
	}
	p = a.set.seams.lostBlob(problem.Incomplete, "blobs of an OCI layout without its index.json", a.index.copyAgain)
	p.Entry = l.path
	return p, len(l.blobs) > 0 || len(l.odd) > 0 || len(l.lost) > 0
}

// treePath converts the path of a layout in the archive to its path in the tree.
func (a *Archive) treePath(p string) string {
	if a.prefix == "" {
		return p
	}
	return path.Join(a.prefix, p)
}

// archivePath converts the path of a layout in the tree to its path in the archive. It returns
// false if the layout cannot be in the archive.
func (a *Archive) archivePath(p string) (string, bool) {
	if p+"/" == a.prefix {
		return ".", true
	}
	return strings.CutPrefix(p, a.prefix)
}
