package volume

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// scan reads the headers of an archive once.
type scan struct {
	size     int64
	window   *window
	layouts  map[string]*scanLayout
	problems []problem.Problem
	trailing []problem.Problem // problems of data after the end
	links    links
	entries  int
	reserved int // number of files in tmp/ that belong to layouts
	unsure   bool

	seams      *seams // nil unless the archive is a chunk set
	last       scannedEntry
	refused    map[int64]problem.Problem // the problems of refused entries, by the offset of their content
	spanBudget int64
	tarEnd     int64 // the offset after the two blocks of zeros at the end of the archive
	copyAgain  []string
}

type scanLayout struct {
	tarLayout
	sums map[[sha256.Size]byte]tarEntry
}

// scanTar reads the headers of an archive one after the other: each header leads to the next. It
// stops at the first header that cannot be read, and never searches for a later one. It fails if
// ctx ends or the files cannot be read.
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

// readHeaders follows the chain of headers. broken is the reason if the chain does not reach the
// end of the archive.
func (s *scan) readHeaders(ctx context.Context) (broken *problem.Problem, err error) {
	if s.size == 0 {
		return s.truncatedEnd(ctx, "the file is empty")
	}
	if hint := s.compressed(); hint != "" {
		return unreadProblem(problem.Limited, nil, "%s", hint), nil
	}
	r := tar.NewReader(s.window)
	var next int64 // offset of the next header; negative after a sparse entry whose stored length is unknown
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
		m := s.readEntry(h, next)
		if m.isTruncated {
			return s.truncatedEntry(h, m), nil
		}
		if err := s.recordEntry(ctx, m); err != nil {
			return nil, err
		}
		next = m.end
		if s.addEntry(h, m.entry); len(s.layouts) > maxLayouts {
			return unreadProblem(problem.Limited, nil, "more than %d layouts: the rest is not read", maxLayouts), nil
		}
	}
}

// readEntry returns the entry with the header h, which begins at offset start. The window must be
// at the content of the entry.
func (s *scan) readEntry(h *tar.Header, start int64) scannedEntry {
	e := tarEntry{off: s.window.pos, size: h.Size}
	if n := e.off - start; n > 0 && n < 1<<31 {
		e.header = uint32(n)
	}
	m := scannedEntry{name: h.Name, entry: e, start: start, end: padToBlock(e.off)}
	switch {
	case isSparse(h):
		m.end = s.readSparse(h, e, e.off-int64(e.header))
		s.unsure = s.unsure || m.end < 0
	case !hasBody(h.Typeflag):
	case e.size > s.size-e.off:
		m.isTruncated = true
	default:
		m.end += padToBlock(e.size)
	}
	if m.body = m.end; m.end > 0 && hasBody(h.Typeflag) {
		m.body = min(e.off+e.size, m.end)
	}
	m.isFile = hasBody(h.Typeflag) && refusal(h) == ""
	return m
}

// padToBlock rounds n up to a multiple of 512.
func padToBlock(n int64) int64 { return (n + 511) &^ 511 }

// hasBody reports whether content follows the header of an entry of this type.
func hasBody(flag byte) bool {
	switch flag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo, tar.TypeXGlobalHeader:
		return false
	}
	return true
}

// readEnd checks that the archive ends with two blocks of zeros at offset next.
func (s *scan) readEnd(ctx context.Context, next int64) (*problem.Problem, error) {
	var blocks [1024]byte
	if next > s.size-int64(len(blocks)) {
		return s.truncatedEnd(ctx, fmt.Sprintf("it ends early, after %d bytes: the two empty blocks at the end are missing", s.size))
	}
	_, _ = s.window.Seek(next, io.SeekStart) // this fails only for negative offsets
	if _, err := io.ReadFull(s.window, blocks[:]); err != nil {
		return nil, err
	}
	if blocks != [1024]byte{} {
		return s.missingHeader(ctx, next+512, "")
	}
	return s.checkEnd(ctx, next)
}

// compressed returns advice if the archive is compressed, and otherwise the empty string.
func (s *scan) compressed() string {
	if s.seams != nil && !s.seams.between(0, 6).isEmpty() {
		return "" // the first chunk is too short to contain the first six bytes
	}
	var magic [6]byte
	n, _ := io.ReadFull(s.window, magic[:])
	_, _ = s.window.Seek(0, io.SeekStart) // this fails only for negative offsets
	for prefix, tool := range map[string]string{
		"\x1f\x8b": "gunzip", "\x28\xb5\x2f\xfd": "unzstd", "BZh": "bunzip2", "\xfd7zXZ\x00": "unxz", "\x04\x22\x4d\x18": "unlz4",
	} {
		if bytes.HasPrefix(magic[:n], []byte(prefix)) {
			return fmt.Sprintf("it is compressed: unpack it to a plain .tar with %s", tool)
		}
	}
	return ""
}

// These are types of entries that only GNU tar writes, in its own format: with --label, a name for the archive,
// and with --listed-incremental, a directory with the names of its files (GNU tar manual, "Basic Tar Format").
const (
	volumeLabel     = 'V'
	dumpedDirectory = 'D'
)

// addEntry adds an entry. It replaces an earlier entry with the same name.
func (s *scan) addEntry(h *tar.Header, e tarEntry) {
	if h.Typeflag == tar.TypeXGlobalHeader || h.Typeflag == volumeLabel {
		return
	}
	name, illegal := cleanName(h.Name)
	switch {
	case illegal != "":
		s.report(problem.Problem{Kind: problem.Damaged, Entry: h.Name, Reason: illegal})
		return
	case h.Typeflag == tar.TypeDir, h.Typeflag == dumpedDirectory:
		return
	}
	header, refused := name, refusal(h)
	if h.Typeflag == tar.TypeLink {
		e, header, refused = s.followLink(h)
	}
	layout, blob, ok := parseName(name)
	if refused != "" {
		if e, header = (tarEntry{}), name; !isHidden(name) && !isReserved(name) { // even a refused entry replaces an earlier one
			s.report(problem.Problem{Kind: problem.Damaged, Entry: name, Reason: refused})
		}
	}
	if ok && isReserved(name) && !isHidden(name) {
		s.reserved++
	}
	ok = ok && !isHidden(name) && !isReserved(name)
	if s.links.remember(name, header, e, ok); ok {
		s.addToLayout(layout, blob, e)
	}
}

// addToLayout adds a blob to a layout. If blob is empty, it adds the index.json.
func (s *scan) addToLayout(layout string, blob digest.Digest, e tarEntry) {
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
			l.odd = map[digest.Digest]tarEntry{}
		}
		l.odd[blob] = e
	}
}

// refusal returns why an entry is not served. It returns the empty string for plain files and for
// hard links to them.
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

func (s *scan) report(p problem.Problem) {
	switch n := len(s.problems); {
	case n < maxProblems:
		p.Entry = p.Entry[:min(len(p.Entry), maxPath)]
		s.problems = append(s.problems, p)
	case n == maxProblems:
		s.problems = append(s.problems, problem.Problem{Kind: p.Kind, Reason: fmt.Sprintf("more than %d entries are refused: the rest is not listed", maxProblems)})
	}
}

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
			if !s.isServed(l, d, e) {
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

// isServed reports whether an entry is served. If not, isServed records the problem in the layout.
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
