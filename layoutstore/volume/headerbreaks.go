package volume

import (
	"archive/tar"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// If a chunk was cut short, everything after the cut moves towards the start of the joined archive.
// The entry with the cut has an intact header, but wrong content. After that entry, the scan usually
// finds no header where it expects one: the chain of headers breaks. So if a chunk ends inside the
// last entry before a break, that entry is served only if its content matches its digest.

// scannedEntry is the entry that the scan has read last.
type scannedEntry struct {
	name  string // the name of the entry in the archive
	entry tarEntry
	// start is the offset of the entry's header.
	start int64
	// body is the offset at which the entry's content ends.
	body int64
	// end is the offset of the next entry's header, after the padding. It is negative if unknown.
	end int64

	// isFile means that the entry is a plain file.
	isFile bool
	// isTruncated means that the archive ends inside the content.
	isTruncated bool
}

// recordEntry records the entry that was read last, and verifies it if it is small and spans several chunks.
// Only its content shows a cut of exactly the size of one or more entries: the chain of headers does not break.
func (s *scan) recordEntry(ctx context.Context, m scannedEntry) error {
	s.last = m
	if s.seams == nil || m.end < 0 {
		return nil
	}
	inside := s.seams.between(m.start+1, m.body)
	if inside.isEmpty() || m.entry.size > maxSpanProof || s.spanBudget < m.entry.size {
		return nil
	}
	s.spanBudget -= m.entry.size
	v, err := s.proveContent(ctx, m)
	if v == contentWrong {
		in := s.seams.chunksOf(m.entry)
		reason := fmt.Sprintf("checksum mismatch: %s, or %s", s.seams.cutShort(inside), in.describe("damaged"))
		s.refuseEntry(m, problem.Damaged, reason, in.names())
	}
	return err
}

// These are the maximum sizes in bytes of entries that are read to verify them.
const (
	// maxSpanProof is for an entry that spans several chunks, while the chain of headers is intact.
	maxSpanProof = 4 << 20
	// spanBudget is the total for all entries that span several chunks.
	spanBudget = 64 << 20
	// maxLastProof is for the last entry before the chain of headers breaks or ends.
	maxLastProof = 256 << 20
)

// checkLastEntry verifies the last entry before the chain of headers breaks or ends. It returns the chunks
// that may be cut short: those that end between this entry and offset until and, unless its content is
// proven, those that end inside it. It refuses a wrong entry, and an unproven one in which a chunk ends.
func (s *scan) checkLastEntry(ctx context.Context, until int64) (indexRange, error) {
	if s.seams == nil {
		return indexRange{0, -1}, nil
	}
	inside, behind := s.seams.between(s.last.start+1, s.last.body), s.seams.between(s.last.body, until)
	if s.last.end == 0 { // there is no last entry
		return behind, nil
	}
	v, err := s.proveContent(ctx, s.last)
	switch {
	case err != nil || v == contentProven || inside.isEmpty() && v != contentWrong:
		return behind, err
	case inside.isEmpty():
		in := s.seams.chunksOf(s.last.entry)
		s.refuseEntry(s.last, problem.Damaged, "checksum mismatch: "+in.describe("damaged"), in.names())
		return behind, nil
	}
	s.refuseEntry(s.last, problem.Incomplete, "not served: "+s.seams.cutShort(inside), inside.names())
	if behind.isEmpty() {
		return inside, nil
	}
	return indexRange{inside.from, behind.to}, nil
}

// refuseEntry refuses the entry m and all hard links to it, whose content is at the same offset.
func (s *scan) refuseEntry(m scannedEntry, kind problem.Kind, reason string, again []string) {
	if s.refused == nil {
		s.refused = map[int64]problem.Problem{}
	}
	p := s.seams.lostBlob(kind, reason, again)
	p.Entry = m.name
	s.refused[m.entry.off] = p
}

// damagedEntries reports each damaged entry that was refused. The problem of the archive covers the
// refused entries that are incomplete.
func (s *scan) damagedEntries() {
	for _, off := range slices.Sorted(maps.Keys(s.refused)) {
		if p := s.refused[off]; p.Kind == problem.Damaged {
			s.report(p)
		}
	}
}

// missingHeader returns the problem of an archive without a header at offset next, where the chain
// of headers leads.
func (s *scan) missingHeader(ctx context.Context, next int64, cause string) (*problem.Problem, error) {
	if s.seams == nil {
		return unreadProblem(problem.Damaged, nil, "no header at byte %d%s: nothing after this byte is read", next, cause), nil
	}
	suspects, err := s.checkLastEntry(ctx, s.window.pos)
	if err != nil {
		return nil, err
	}
	chunk, at := s.seams.at(next)
	where := fmt.Sprintf("no header at byte %d, which is byte %d of %s%s: nothing after this byte is read", next, at, chunkLabel(chunk), cause)
	if suspects.isEmpty() {
		s.copyAgain = []string{chunkLabel(chunk)}
		return unreadProblem(problem.Damaged, s.copyAgain, "%[1]s is damaged: %[2]s; copy %[1]s again", chunkLabel(chunk), where), nil
	}
	s.copyAgain = s.suspectNames(suspects)
	again := strings.Join(s.copyAgain, " or ") + " again"
	if label := chunkLabel(chunk); !slices.Contains(s.copyAgain, label) {
		again += ", and " + label + " if that does not help"
	}
	return unreadProblem(problem.Incomplete, s.copyAgain, "%s, or %s is damaged: %s; copy %s", s.seams.cutShort(suspects), chunkLabel(chunk), where, again), nil
}

// suspectNames returns the names of the chunks to copy again, with the most likely one first.
func (s *scan) suspectNames(r indexRange) []string {
	names := r.names()
	i, ok := s.seams.smallest(r)
	if !ok {
		return names
	}
	label := chunkLabel(i)
	return append([]string{label}, slices.DeleteFunc(names, func(n string) bool { return n == label })...)
}

// truncatedEnd returns the problem of an archive that ends before its two empty blocks.
func (s *scan) truncatedEnd(ctx context.Context, how string) (*problem.Problem, error) {
	if s.seams == nil {
		return unreadProblem(problem.Incomplete, nil, "%s: copy the archive again", how), nil
	}
	suspects, err := s.checkLastEntry(ctx, s.size)
	return s.truncatedChunks(suspects, how), err
}

// truncatedEntry returns the problem of an archive that ends inside the content of the entry m. h
// is the header of the entry. In a chunk set, the entry counts as missing.
func (s *scan) truncatedEntry(h *tar.Header, m scannedEntry) *problem.Problem {
	how := fmt.Sprintf("it ends early, in the entry %.300s", m.name)
	if s.seams == nil {
		return unreadProblem(problem.Incomplete, nil, "%s: copy the archive again", how)
	}
	p := s.truncatedChunks(s.seams.between(m.start+1, s.size), how)
	s.refuseEntry(m, problem.Incomplete, problem.Missing, s.copyAgain)
	s.addEntry(h, m.entry)
	return p
}

// behindLast stands for chunks that may be missing at the end of a chunk set. A set does not say
// how many chunks it had.
const behindLast = "any later chunks"

// truncatedChunks returns the problem of a chunk set that ends before its archive does. One of the
// suspects is cut short, or chunks after the last one are missing. The problem names the next chunk,
// unless the last one is smaller than all others. Such a last chunk may be cut short, or it may be
// the real last chunk, so that no next chunk ever existed.
func (s *scan) truncatedChunks(suspects indexRange, how string) *problem.Problem {
	x := s.seams
	if len(x.missing) > 0 {
		s.copyAgain = x.missing[0].names()
		return unreadProblem(problem.Incomplete, s.copyAgain, "") // the list of missing chunks is enough
	}
	last := len(x.ends) - 1
	short := x.between(s.size, s.size+1) // the last chunk that is not empty, and those after it
	if !suspects.isEmpty() {
		short.from = min(short.from, suspects.from)
	}
	names := s.suspectNames(short)
	if x.isSmallest(last) {
		s.copyAgain = append(names, behindLast)
		return unreadProblem(problem.Incomplete, s.copyAgain, "the chunk set ends early, after %s: %s, or later chunks are missing: %s; copy %s again",
			chunkLabel(last), x.cutShort(short), how, strings.Join(s.copyAgain, " or "))
	}
	next := chunkLabel(last + 1)
	s.copyAgain = append([]string{next}, names...)
	return unreadProblem(problem.Incomplete, s.copyAgain, "%s is missing, or %s: %s", next, x.cutShort(short), how)
}

// checkEnd checks that the two empty blocks at offset next are the end of the archive. After a cut,
// they may be in the middle of an entry.
func (s *scan) checkEnd(ctx context.Context, next int64) (*problem.Problem, error) {
	if s.tarEnd = next + 1024; s.seams == nil || s.seams.between(s.last.start+1, next+1).isEmpty() {
		return nil, nil
	}
	more := false
	if !s.seams.isEnd(s.tarEnd) {
		var err error
		if more, err = s.hasTrailingData(ctx, s.tarEnd); err != nil {
			return nil, err
		}
	}
	inside := s.seams.between(s.last.start+1, s.last.body)
	v, err := contentProven, error(nil)
	if !inside.isEmpty() {
		v, err = s.proveContent(ctx, s.last)
	}
	if err != nil || !more && v != contentWrong {
		return nil, err // this is probably the real end
	}
	suspects, err := s.checkLastEntry(ctx, next+1)
	if err != nil || suspects.isEmpty() {
		return nil, err
	}
	chunk, at := s.seams.at(next)
	s.copyAgain = s.suspectNames(suspects)
	return unreadProblem(problem.Incomplete, s.copyAgain, "%s: the end of the archive is at byte %d of %s, too early; copy %s again",
		s.seams.cutShort(suspects), at, chunkLabel(chunk), strings.Join(s.copyAgain, " or ")), nil
}

// maxTrailingPadding is how many bytes of zeros may follow the end of an archive. tar pads an
// archive to complete records.
const maxTrailingPadding = 1 << 20

// hasTrailingData reports whether anything other than a little padding follows the end of the archive.
func (s *scan) hasTrailingData(ctx context.Context, end int64) (bool, error) {
	if s.size-end > maxTrailingPadding {
		return true, nil
	}
	at, _, err := s.firstNonZero(ctx, end)
	return at >= 0, err
}

// unreadProblem returns the problem of an archive whose headers cannot be read to the end. The
// remaining entries are unknown. again contains the chunks to copy again.
func unreadProblem(kind problem.Kind, again []string, format string, args ...any) *problem.Problem {
	return &problem.Problem{Kind: kind, Reason: fmt.Sprintf(format, args...), TagsUnknown: true, Chunks: again, Suspects: true}
}
