package volume

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
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
	checked     bitSet      // of each layout's index.json, then of its blobs
	saved       atomic.Bool // SaveIndex was called
	stale       atomic.Bool // an entry was not where the cached index says
}

// IsStale reports whether the cached index turned out not to match the archive.
func (a *Archive) IsStale() bool { return a.stale.Load() }

// OpenArchive reads the headers of an archive, or takes its index from cache if that has
// one of exactly these files. Errors: the context's; those of opening and reading the
// files. Problems of the archive itself are in [Archive.Problem] and [Archive.Layouts].
func OpenArchive(ctx context.Context, set Set, cache Cache) (*Archive, error) {
	a := &Archive{set: set, base: set.list()}
	a.begins = beginsOf(a.base)
	if a.index, a.cachedIndex = cache.load(set); !a.cachedIndex {
		var err error
		if a.index, err = scanTar(ctx, set); err != nil {
			return nil, err
		}
	}
	a.prefix = legacyPrefix(cmp.Or(set.As, set.Name), a.index.layouts)
	a.misplaced = misplaced(cmp.Or(set.As, set.Name), a.index.layouts)
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

// SaveIndex writes the index to cache, unless it came from there or the archive is
// incomplete. Writing a file takes longer than reading the headers of a small archive:
// call it when nobody waits.
func (a *Archive) SaveIndex(cache Cache) {
	if !a.cachedIndex && a.saved.CompareAndSwap(false, true) {
		cache.store(a.set, a.index)
	} else if cache != "" {
		cache.use(a.set, time.Now())
	}
}

// Problem says why the archive is incomplete; ok is false if it is complete. Missing
// chunks come first, then what is wrong with the others. The problem has no path.
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
		found.Layouts = append(found.Layouts, Layout{
			Path:  a.treePath(l.path),
			Index: where,
			Stamp: Stamp{ID: fmt.Sprintf("%s %d %d", a.set.identity, l.index.off, l.index.size), Settled: true},
		})
	}
	return found, nil
}

// noIndex is the problem of a layout without an index.json. ok is false if the layout has
// nothing else either.
func (a *Archive) noIndex(l *tarLayout) (p problem.Problem, ok bool) {
	if p, ok = l.lost[""]; ok {
		p.Entry = path.Join(l.path, "index.json")
		return p, true
	}
	p = lostBlob(problem.Incomplete, "blobs of an OCI layout without its index.json", a.index.copyAgain)
	p.Entry = l.path
	return p, len(l.blobs) > 0 || len(l.odd) > 0 || len(l.lost) > 0
}

// treePath is the path in the tree of the layout that the archive has at p.
func (a *Archive) treePath(p string) string {
	if a.prefix == "" {
		return p
	}
	return path.Join(a.prefix, p)
}

// archivePath is the path in the archive of the layout at p in the tree.
func (a *Archive) archivePath(p string) (string, bool) {
	if a.prefix == "" {
		return p, true
	}
	if p+"/" == a.prefix {
		return ".", true
	}
	return strings.CutPrefix(p, a.prefix)
}

// Locate implements [Volume]. If the archive does not match its cached index, opening the
// result fails with [extent.ErrStale].
func (a *Archive) Locate(ctx context.Context, layout string, d digest.Digest) (extent.List, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return a.locate(layout, d)
}

// locate is Locate. It reads nothing: the index is in memory.
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

// missingBlob is the error for a blob d that the layout cannot serve.
func (a *Archive) missingBlob(l *tarLayout, d digest.Digest) error {
	p, ok := l.lost[d]
	if again := a.index.copyAgain; !ok && len(again) > 0 {
		p, ok = lostBlob(problem.Incomplete, problem.Missing, again), true
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
	all := make([]digest.Digest, 0, len(l.blobs)+len(l.odd))
	for _, b := range l.blobs {
		all = append(all, digest.NewDigestFromBytes(digest.SHA256, b.sum[:]))
	}
	for d := range l.odd {
		all = append(all, digest.Digest(d))
	}
	slices.Sort(all)
	return all, ctx.Err()
}

// entryExtents locates entry number i of a layout.
func (a *Archive) entryExtents(l *tarLayout, i int, name string, e tarEntry) (extent.List, error) {
	where, err := a.sliceBase(e.off, e.size)
	if err != nil || !a.cachedIndex || len(where) == 0 {
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

// beginsOf returns the offset in the list at which each extent begins.
func beginsOf(list extent.List) []int64 {
	begins := make([]int64, len(list))
	var size int64
	for i, e := range list {
		begins[i] = size
		size += e.Len
	}
	return begins
}

// sliceBase is base.Slice with a binary search: an archive may have as many chunks as
// entries.
func (a *Archive) sliceBase(off, n int64) (extent.List, error) {
	i := max(sort.Search(len(a.begins), func(i int) bool { return a.begins[i] > off })-1, 0)
	j := max(sort.Search(len(a.begins), func(i int) bool { return a.begins[i]-off >= n }), i)
	if i == j || off < 0 || n < 0 {
		return a.base.Slice(off, n) // nothing, or an error
	}
	return a.base[i:j].Slice(off-a.begins[i], n)
}

// uncheckedFile is the file of an entry from a cached index. Opening it checks the entry's
// header first.
type uncheckedFile struct {
	extent.File
	archive *Archive
	name    string
	entry   tarEntry
	number  int // of the entry in checked; negative if it is not tracked
}

func (d *uncheckedFile) Open(ctx context.Context) (*os.File, error) {
	if err := d.archive.checkHeader(ctx, d.name, d.entry); err != nil {
		if errors.Is(err, extent.ErrStale) {
			d.archive.stale.Store(true)
		}
		return nil, err
	}
	if d.number >= 0 {
		d.archive.checked.add(d.number)
	}
	return d.File.Open(ctx)
}

// Check implements extent.Checker.
func (d *uncheckedFile) Check(info fs.FileInfo) error { return d.File.(extent.Checker).Check(info) }

// bitSet is a set of small numbers that several goroutines may use at the same time.
type bitSet []atomic.Uint32

func (s bitSet) has(i int) bool { return s[i/32].Load()&(1<<(i%32)) != 0 }

func (s bitSet) add(i int) { s[i/32].Or(1 << (i % 32)) }

// checkHeader checks that the header before an entry has its name and size.
func (a *Archive) checkHeader(ctx context.Context, name string, e tarEntry) error {
	where, err := a.sliceBase(e.off-int64(e.header), int64(e.header))
	if err != nil {
		return fmt.Errorf("%s: %w: %w", a, extent.ErrStale, err)
	}
	header, err := where.ReadAll(ctx)
	if err != nil {
		return err
	}
	// An entry of the largest size may follow the header: the reader is not asked for it.
	h, err := tar.NewReader(io.MultiReader(strings.NewReader(string(header)), zeros{})).Next()
	if err == nil && isSparse(h) {
		makePlain(h, header)
	}
	if err != nil || !a.index.isHeaderOf(name, h) || h.Size != e.size || refusal(h) != "" {
		return fmt.Errorf("%s: the header of %s is not where it was: %w", a, name, extent.ErrStale)
	}
	return nil
}

// isHeaderOf reports whether h is the header before the content of the entry called name.
func (ix *tarIndex) isHeaderOf(name string, h *tar.Header) bool {
	want, linked := ix.headers[name]
	if !linked {
		want = name
	}
	have, illegal := cleanName(h.Name)
	return illegal == "" && have == want && h.Typeflag != tar.TypeLink
}

// zeros is read by a tar reader after the one header that it is given.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// archiveFile is one file of an archive. It opens only if it is unchanged since the
// archive was indexed.
type archiveFile struct {
	dir, name string
	shown     string
	info      fs.FileInfo
	stamp     string // of info
	local     bool   // on a file system that plainfile.IsLocal
}

func (f *archiveFile) Open(ctx context.Context) (*os.File, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// By path, not from an open directory: each scan would open one, and few would ever
	// be used. The user names the directory, and the name in it has no slash.
	file, err := plainfile.OpenNoFollow(filepath.Join(f.dir, f.name))
	if err != nil {
		// A link, or an error to report: a link may lead to another name in the directory.
		file, err = plainfile.OpenInDir(f.dir, f.name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w: %w", f.shown, extent.ErrStale, err)
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	return f.unchanged(file, info)
}

// OpenCached implements extent.Cached.
func (f *archiveFile) OpenCached() (*os.File, fs.FileInfo, error) {
	if !f.local {
		return nil, nil, plainfile.ErrWouldWait
	}
	file, info, err := plainfile.OpenCachedNoFollow(filepath.Join(f.dir, f.name))
	if err != nil {
		return nil, nil, err
	}
	file, err = f.unchanged(file, info)
	return file, info, err
}

// unchanged returns an open file if it is unchanged since the archive was indexed.
func (f *archiveFile) unchanged(file *os.File, info fs.FileInfo) (*os.File, error) {
	if !sameState(info, f.info) {
		file.Close()
		return nil, fmt.Errorf("%s: %w", f.shown, extent.ErrStale)
	}
	return file, nil
}

// Check implements extent.Checker. It ignores the change time: replacing a file by a
// rename changes that of the open one, and not its content.
func (f *archiveFile) Check(info fs.FileInfo) error {
	if info.Size() != f.info.Size() || !info.ModTime().Equal(f.info.ModTime()) {
		return fmt.Errorf("%s: %w", f.shown, extent.ErrStale)
	}
	return nil
}

func (f *archiveFile) String() string { return f.shown }
