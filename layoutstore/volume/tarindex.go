package volume

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Bounds of an archive, far above any bundle.
const (
	maxEntries  = 4_000_000
	maxLayouts  = 100_000 // each takes some hundred bytes here, and a kilobyte when it is served
	maxProblems = 1000
)

// tarIndex is where the entries of a tar archive are. It is made by reading the headers
// once, and never changes.
type tarIndex struct {
	layouts  []tarLayout       // by path
	problems []problem.Problem // entries that are not served; at most maxProblems, and one that says that there are more
	broken   *problem.Problem  // why the archive has no valid end
	entries  int
	// unsure is set if a cached index could not represent everything, so that this one is
	// not cached.
	unsure  bool
	headers map[string]string // names in the headers of files that hard links lead to, by entry
	// end is where the two empty blocks at the end of the archive end; 0 if they were not
	// found.
	end int64
	// copyAgain are the chunks to copy again: without them, the entries after the break in
	// the chain of headers are unknown.
	copyAgain []string
	// documents are the index.json of layouts, by the path of the layout, of a cached index of an
	// archive in a bucket.
	documents map[string]string
}

// tarLayout is a layout of an archive.
type tarLayout struct {
	path  string
	first int      // number of its index.json among the entries of all layouts; set if the index was cached
	index tarEntry // of index.json; the zero value without one
	blobs []tarBlob
	odd   map[string]tarEntry // blobs of other algorithms than sha256, by digest
	// lost are the entries that are known and not intact, by digest; the empty one is
	// that of index.json.
	lost map[digest.Digest]problem.Problem
}

// tarEntry is where an entry's content is in the archive, and the header before it.
type tarEntry struct {
	off, size int64
	header    uint32 // bytes of header before off
}

func (e tarEntry) exists() bool { return e.off > 0 }

type tarBlob struct {
	sum [sha256.Size]byte
	tarEntry
}

func compareSums(b tarBlob, sum [sha256.Size]byte) int { return bytes.Compare(b.sum[:], sum[:]) }

// layout returns the layout at path, or nil.
func (ix *tarIndex) layout(p string) *tarLayout {
	i, ok := slices.BinarySearchFunc(ix.layouts, p, func(l tarLayout, p string) int { return strings.Compare(l.path, p) })
	if !ok {
		return nil
	}
	return &ix.layouts[i]
}

// blob returns where the blob d is, and its number among the layout's entries, of which
// index.json is the first. Blobs of algorithms other than sha256 have no number.
func (l *tarLayout) blob(d digest.Digest) (e tarEntry, number int, ok bool) {
	sum, plain := names.SHA256Sum(d)
	if !plain {
		e, ok := l.odd[string(d)]
		return e, -1, ok
	}
	i, ok := slices.BinarySearchFunc(l.blobs, sum, compareSums)
	if !ok {
		return tarEntry{}, -1, false
	}
	return l.blobs[i].tarEntry, i + 1, true
}

// scan is one reading of an archive's headers.
type scan struct {
	size     int64
	window   *window
	layouts  map[string]*scanLayout
	problems []problem.Problem
	trailing []problem.Problem // of what is behind the end
	links    links
	entries  int
	reserved int // files of layouts in tmp/
	unsure   bool

	seams      *seams // of a chunk set
	last       scannedEntry
	refused    map[int64]problem.Problem // by the offset of the content
	spanBudget int64
	tarEnd     int64 // where the archive ends, with its two blocks of zeros
	copyAgain  []string
}

type scanLayout struct {
	tarLayout
	sums map[[sha256.Size]byte]tarEntry
}

// scanTar reads the headers of an archive as a chain, up to the first one that cannot be
// read. It never searches for headers. The error is the context's, or one of opening the
// files.
func scanTar(ctx context.Context, set Set) (*tarIndex, error) {
	w := newWindow(ctx, set.list())
	defer w.Close()
	s := &scan{size: w.size, window: w, layouts: map[string]*scanLayout{}, seams: set.seams, spanBudget: spanBudget}
	broken, err := s.readHeaders(ctx)
	if err == nil && s.tarEnd > 0 && broken == nil {
		err = s.checkTrailing(ctx, s.tarEnd)
	}
	if err != nil {
		return nil, err
	}
	return s.finish(broken), nil
}

// readHeaders follows the headers to the end of the archive. broken says what is wrong
// there.
func (s *scan) readHeaders(ctx context.Context) (broken *problem.Problem, err error) {
	if s.size == 0 {
		return s.truncatedEnd(ctx, "the file is empty")
	}
	if hint := s.compressed(); hint != "" {
		return unreadProblem(problem.Limited, nil, "%s", hint), nil
	}
	r := tar.NewReader(s.window)
	var next int64 // where the next header begins; negative after a sparse entry, whose stored length is unknown
	for {
		if s.entries%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		if s.entries >= maxEntries {
			return unreadProblem(problem.Limited, nil, "more than %d entries: the rest is not read", maxEntries), nil
		}
		h, err := r.Next()
		if s.window.err != nil {
			return nil, s.window.err
		}
		if next < 0 {
			next = max(s.window.pos-1024, 0)
			s.last.body, s.last.end = next, next
		}
		switch {
		case errors.Is(err, io.EOF):
			return s.readEnd(ctx, next)
		case errors.Is(err, io.ErrUnexpectedEOF):
			return s.truncatedEnd(ctx, fmt.Sprintf("it ends early, after %d bytes", s.size))
		case err != nil:
			return s.missingHeader(ctx, next, fmt.Sprintf(": %v", err))
		}
		s.entries++
		e := tarEntry{off: s.window.pos, size: h.Size}
		if n := e.off - next; n > 0 && n < 1<<31 {
			e.header = uint32(n)
		}
		m := scannedEntry{name: h.Name, entry: e, isFile: hasBody(h.Typeflag) && refusal(h) == "", start: next}
		switch next = padToBlock(e.off); {
		case isSparse(h):
			next = s.readSparse(h, e, e.off-int64(e.header))
			m.isFile = refusal(h) == ""
			s.unsure = s.unsure || next < 0
		case hasBody(h.Typeflag):
			if e.size > s.size-e.off {
				return s.truncatedEntry(h, m), nil
			}
			next += padToBlock(e.size)
		}
		if m.body, m.end = next, next; next > 0 && hasBody(h.Typeflag) {
			m.body = min(e.off+e.size, next)
		}
		if err := s.recordEntry(ctx, m); err != nil {
			return nil, err
		}
		if s.addEntry(h, e); len(s.layouts) > maxLayouts {
			return unreadProblem(problem.Limited, nil, "more than %d layouts: the rest is not read", maxLayouts), nil
		}
	}
}

// padToBlock is n rounded up to a multiple of 512.
func padToBlock(n int64) int64 { return (n + 511) &^ 511 }

// hasBody reports whether content follows the header of an entry of a type.
func hasBody(flag byte) bool {
	switch flag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo, tar.TypeXGlobalHeader:
		return false
	}
	return true
}

// readEnd checks the archive's end, which must be two blocks of zeros at next.
func (s *scan) readEnd(ctx context.Context, next int64) (*problem.Problem, error) {
	var blocks [1024]byte
	if next > s.size-int64(len(blocks)) {
		return s.truncatedEnd(ctx, fmt.Sprintf("it ends early, after %d bytes: the two empty blocks at the end are missing", s.size))
	}
	_, _ = s.window.Seek(next, io.SeekStart) // not before the beginning
	if _, err := io.ReadFull(s.window, blocks[:]); err != nil {
		return nil, err
	}
	if blocks != [1024]byte{} {
		return s.missingHeader(ctx, next+512, "")
	}
	return s.checkEnd(ctx, next)
}

// compressed says what to do with a compressed archive; it is empty for others.
func (s *scan) compressed() string {
	if s.seams != nil && !s.seams.between(0, 6).isEmpty() {
		return "" // the first chunk is too short to tell
	}
	var magic [6]byte
	n, _ := io.ReadFull(s.window, magic[:])
	_, _ = s.window.Seek(0, io.SeekStart) // within the window, always
	for prefix, tool := range map[string]string{
		"\x1f\x8b": "gunzip", "\x28\xb5\x2f\xfd": "unzstd", "BZh": "bunzip2", "\xfd7zXZ\x00": "unxz", "\x04\x22\x4d\x18": "unlz4",
	} {
		if bytes.HasPrefix(magic[:n], []byte(prefix)) {
			return fmt.Sprintf("it is compressed: unpack it to a plain .tar with %s", tool)
		}
	}
	return ""
}

// addEntry adds one entry. The last one of a name wins.
func (s *scan) addEntry(h *tar.Header, e tarEntry) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return
	}
	name, illegal := cleanName(h.Name)
	switch {
	case illegal != "":
		s.report(problem.Problem{Kind: problem.Damaged, Entry: h.Name, Reason: illegal})
		return
	case h.Typeflag == tar.TypeDir:
		return
	}
	header, refused := name, refusal(h)
	if h.Typeflag == tar.TypeLink {
		e, header, refused = s.followLink(h)
	}
	layout, blob, ok := parseName(name)
	if refused != "" {
		if e, header = (tarEntry{}), name; !isHidden(name) && !isReserved(name) { // it takes the place of an earlier entry of the name
			s.report(problem.Problem{Kind: problem.Damaged, Entry: name, Reason: refused})
		}
	}
	if ok && isReserved(name) && !isHidden(name) {
		s.reserved++
	}
	ok = ok && !isHidden(name) && !isReserved(name)
	if s.links.remember(name, header, e, ok); !ok {
		return
	}
	l := s.layouts[layout]
	if l == nil {
		l = &scanLayout{tarLayout: tarLayout{path: layout}, sums: map[[sha256.Size]byte]tarEntry{}}
		s.layouts[layout] = l
	}
	switch sum, plain := names.SHA256Sum(blob); {
	case blob == "":
		l.index = e
	case plain:
		l.sums[sum] = e
	default:
		if l.odd == nil {
			l.odd = map[string]tarEntry{}
		}
		l.odd[string(blob)] = e
	}
}

// refusal says why an entry is not served. Only plain files are, and hard links to them.
func refusal(h *tar.Header) string {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeLink, '\x00':
	case tar.TypeSymlink:
		return fmt.Sprintf("a link to %.300q: symbolic links in archives are not followed (tar --dereference packs files in their place)", h.Linkname)
	case tar.TypeGNUSparse:
	default:
		return fmt.Sprintf("not a file (type %q)", h.Typeflag)
	}
	if isSparse(h) {
		return sparseAdvice
	}
	return ""
}

// cleanName returns an entry's name as a clean relative path. illegal says why it has none.
func cleanName(name string) (clean, illegal string) {
	if len(name) > maxPath {
		return "", fmt.Sprintf("a name longer than %d bytes", maxPath)
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", "a name with \"..\" in it"
	}
	return path.Clean(strings.TrimLeft(name, "/")), ""
}

// isHidden reports whether a segment of name begins with a dot.
func isHidden(name string) bool { return name[0] == '.' && name != "." || strings.Contains(name, "/.") }

// parseName returns the layout that a file belongs to, and the digest of a blob; blob is
// empty for an index.json. ok is false for any other file.
func parseName(name string) (layout string, blob digest.Digest, ok bool) {
	dir, file := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if file == "index.json" {
		return cmp.Or(dir, "."), "", true
	}
	return names.ParseBlobPath(name)
}

func (s *scan) report(p problem.Problem) {
	switch n := len(s.problems); {
	case n < maxProblems:
		p.Entry = p.Entry[:min(len(p.Entry), maxPath)]
		s.problems = append(s.problems, p)
	case n == maxProblems:
		s.problems = append(s.problems, problem.Problem{Kind: p.Kind, Reason: fmt.Sprintf("more than %d entries are refused: the rest is not listed", maxProblems)})
	}
}

// finish sorts the findings into an index.
func (s *scan) finish(broken *problem.Problem) *tarIndex {
	if s.reserved > 0 {
		s.trailing = append(s.trailing, s.reservedProblem())
	}
	s.damagedEntries()
	ix := &tarIndex{
		problems: append(s.problems, s.trailing...), broken: broken, entries: s.entries, headers: s.links.headers,
		unsure: s.unsure || len(s.refused) > 0, end: s.tarEnd, copyAgain: s.copyAgain,
	}
	for _, l := range s.layouts {
		l.blobs = make([]tarBlob, 0, len(l.sums))
		for sum, e := range l.sums {
			if s.isServed(l, digest.NewDigestFromBytes(digest.SHA256, sum[:]), e) {
				l.blobs = append(l.blobs, tarBlob{sum, e})
			}
		}
		slices.SortFunc(l.blobs, func(a, b tarBlob) int { return bytes.Compare(a.sum[:], b.sum[:]) })
		for d, e := range l.odd {
			if !s.isServed(l, digest.Digest(d), e) {
				delete(l.odd, d)
			}
		}
		if !s.isServed(l, "", l.index) {
			l.index = tarEntry{}
		}
		ix.layouts = append(ix.layouts, l.tarLayout)
	}
	slices.SortFunc(ix.layouts, func(a, b tarLayout) int { return strings.Compare(a.path, b.path) })
	return ix
}

// isServed reports whether an entry is served. If not, the layout records why.
func (s *scan) isServed(l *scanLayout, d digest.Digest, e tarEntry) bool {
	if !e.exists() {
		return false
	}
	lost, ok := s.refused[e.off]
	if !ok {
		return true
	}
	if l.lost == nil {
		l.lost = map[digest.Digest]problem.Problem{}
	}
	lost.Digest, lost.Entry = d, ""
	l.lost[d] = lost
	return false
}
