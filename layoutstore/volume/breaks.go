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

// A chunk that was cut short moves everything behind the cut towards the beginning
// of the joined archive. The headers before the cut are where they were; the entry
// that the cut is in has a true header and wrong content; behind it the chain of
// headers breaks, as a rule. So the entry before a break is in doubt wherever a
// chunk ends in it, and is served only if its content proves itself.

// mark is the entry that the scan has passed last.
type mark struct {
	name  string // as the archive has it
	entry tarEntry
	file  bool  // a plain file, whose content is that of its name
	start int64 // of its header
	body  int64 // where its content ends
	end   int64 // where its last block ends and the next header begins; negative where unknown
}

// passed remembers the entry that was read last. A small entry that lies in several
// chunks is proven right away: the chain of headers may go on behind a cut by chance,
// where exactly some entries were lost with it.
func (s *scan) passed(ctx context.Context, m mark) error {
	s.last = m
	if s.seams == nil || m.end < 0 {
		return nil
	}
	inside := s.seams.between(m.start+1, m.body)
	if inside.empty() || m.entry.size > maxSpanProof || s.spanBudget < m.entry.size {
		return nil
	}
	s.spanBudget -= m.entry.size
	v, err := s.prove(ctx, m)
	if v == contentWrong {
		in := s.seams.holding(m.entry)
		reason := fmt.Sprintf("checksum mismatch: %s, or %s", s.seams.cutShort(inside), in.are("damaged"))
		s.refuse(m, problem.Damaged, reason, in.names())
	}
	return err
}

// How much is read of entries that lie in several chunks, to prove them.
const (
	maxSpanProof = 4 << 20   // of an entry in an intact chain of headers
	spanBudget   = 64 << 20  // of all of these
	maxLastProof = 256 << 20 // of the entry before a break
)

// doubt decides about the last entry where the chain of headers does not go on, and
// returns the chunks of which one may be cut short: those that end in the entry, if it
// is not proven, and between it and until.
func (s *scan) doubt(ctx context.Context, until int64) (indexRange, error) {
	if s.seams == nil {
		return indexRange{0, -1}, nil
	}
	inside, behind := s.seams.between(s.last.start+1, s.last.body), s.seams.between(s.last.body, until)
	if s.last.end == 0 { // no entry at all
		return behind, nil
	}
	v, err := s.prove(ctx, s.last)
	switch {
	case err != nil || v == contentProven || inside.empty() && v != contentWrong:
		return behind, err
	case inside.empty():
		in := s.seams.holding(s.last.entry)
		s.refuse(s.last, problem.Damaged, "checksum mismatch: "+in.are("damaged"), in.names())
		return behind, nil
	}
	s.refuse(s.last, problem.Incomplete, "not served: "+s.seams.cutShort(inside), inside.names())
	if behind.empty() {
		return inside, nil
	}
	return indexRange{inside.from, behind.to}, nil
}

// refuse has everything that is stored at an entry's place not served.
func (s *scan) refuse(m mark, kind problem.Kind, reason string, again []string) {
	if s.refused == nil {
		s.refused = map[int64]problem.Problem{}
	}
	p := lostBlob(kind, reason, again)
	p.Entry = m.name // as the archive has it
	s.refused[m.entry.off] = p
}

// damagedEntries reports each entry that is refused and damaged. What is incomplete has
// its reason in the archive's problem.
func (s *scan) damagedEntries() {
	for _, off := range slices.Sorted(maps.Keys(s.refused)) {
		if p := s.refused[off]; p.Kind == problem.Damaged {
			s.report(p)
		}
	}
}

// noHeader says why there is no header at byte next, where one has to be.
func (s *scan) noHeader(ctx context.Context, next int64, cause string) (*problem.Problem, error) {
	if s.seams == nil {
		return unreadBehind(problem.Damaged, nil, "no header at byte %d%s: what lies behind is not read", next, cause), nil
	}
	suspects, err := s.doubt(ctx, s.window.pos)
	if err != nil {
		return nil, err
	}
	chunk, at := s.seams.at(next)
	where := fmt.Sprintf("no header at byte %d, which is byte %d of %s%s: nothing behind it is read", next, at, chunkLabel(chunk), cause)
	if suspects.empty() {
		s.copyAgain = []string{chunkLabel(chunk)}
		return unreadBehind(problem.Damaged, s.copyAgain, "%s is damaged: %s; copy the chunk again", chunkLabel(chunk), where), nil
	}
	s.copyAgain = s.suspectNames(suspects)
	return unreadBehind(problem.Incomplete, s.copyAgain, "%s, or %s is damaged: %s; copy the chunk again", s.seams.cutShort(suspects), chunkLabel(chunk), where), nil
}

// suspectNames are the chunks to copy again, the most likely one first.
func (s *scan) suspectNames(r indexRange) []string {
	names := r.names()
	i, ok := s.seams.smallest(r)
	if !ok {
		return names
	}
	label := chunkLabel(i)
	return append([]string{label}, slices.DeleteFunc(names, func(n string) bool { return n == label })...)
}

// endsEarly says why the archive ends before its two empty blocks. In the entry that
// it ends in, nothing is proven: next is where that begins, or behind all entries.
func (s *scan) endsEarly(ctx context.Context, how string) (*problem.Problem, error) {
	if s.seams == nil {
		return unreadBehind(problem.Incomplete, nil, "%s", how), nil
	}
	suspects, err := s.doubt(ctx, s.size)
	return s.runsOut(suspects, how), err
}

// endsIn says that the archive ends in the content of the entry m, whose header is h.
// In a chunk set the entry is known to be lost.
func (s *scan) endsIn(h *tar.Header, m mark) *problem.Problem {
	how := fmt.Sprintf("it ends early, in the entry %.300s", m.name)
	if s.seams == nil {
		return unreadBehind(problem.Incomplete, nil, "%s", how)
	}
	p := s.runsOut(s.seams.between(m.start+1, s.size), how)
	s.refuse(m, problem.Incomplete, problem.Missing, s.copyAgain)
	s.entry(h, m.entry)
	return p
}

// runsOut says what is missing behind the last chunk that is here. One of the suspects
// may be cut short instead.
func (s *scan) runsOut(suspects indexRange, how string) *problem.Problem {
	x := s.seams
	if len(x.missing) > 0 {
		s.copyAgain = x.missing[0].names()
		return unreadBehind(problem.Incomplete, s.copyAgain, "") // what is missing says enough
	}
	last := len(x.ends) - 1
	next := chunkLabel(last + 1)
	short := x.between(s.size, s.size+1) // the last chunk that is not empty, and those behind it
	if !suspects.empty() {
		short.from = min(short.from, suspects.from)
	}
	s.copyAgain = append([]string{next}, s.suspectNames(short)...)
	text := fmt.Sprintf("%s is missing, or the one before it is cut short (%s)", next, chunkLabel(last))
	if short.from < last {
		text = next + " is missing, or " + x.cutShort(short)
	}
	return unreadBehind(problem.Incomplete, s.copyAgain, "%s: %s", text, how)
}

// endsAt is called where two empty blocks at next end the archive. Behind a cut the
// scan may have met them inside an entry.
func (s *scan) endsAt(ctx context.Context, next int64) (*problem.Problem, error) {
	if s.tarEnd = next + 1024; s.seams == nil || s.seams.between(s.last.start+1, next+1).empty() {
		return nil, nil
	}
	more := false
	if !s.seams.isEnd(s.tarEnd) {
		var err error
		if more, err = s.moreBehind(ctx, s.tarEnd); err != nil {
			return nil, err
		}
	}
	inside := s.seams.between(s.last.start+1, s.last.body)
	v, err := contentProven, error(nil)
	if !inside.empty() {
		v, err = s.prove(ctx, s.last)
	}
	if err != nil || !more && v != contentWrong {
		return nil, err // nothing speaks against this end
	}
	suspects, err := s.doubt(ctx, next+1)
	if err != nil || suspects.empty() {
		return nil, err
	}
	chunk, at := s.seams.at(next)
	s.copyAgain = s.suspectNames(suspects)
	return unreadBehind(problem.Incomplete, s.copyAgain, "%s: the end of the archive is at byte %d of %s, too early; copy the chunk again", s.seams.cutShort(suspects), at, chunkLabel(chunk)), nil
}

// tarBehind is how many zeros may follow the end of an archive: tar pads it to whole
// records.
const tarBehind = 1 << 20

// moreBehind says whether anything but a little padding follows the end of the archive.
func (s *scan) moreBehind(ctx context.Context, end int64) (bool, error) {
	if s.size-end > tarBehind {
		return true, nil
	}
	nonzero := false
	err := s.read(ctx, end, s.size-end, func(b []byte) {
		nonzero = nonzero || strings.Trim(string(b), "\x00") != ""
	})
	return nonzero, err
}

// unreadBehind is the problem of an archive whose headers could not be followed to the end,
// so that nobody knows what is behind. again are the chunks to copy again.
func unreadBehind(kind problem.Kind, again []string, format string, args ...any) *problem.Problem {
	return &problem.Problem{Kind: kind, Reason: fmt.Sprintf(format, args...), TagsUnknown: true, Chunks: again, Suspects: true}
}
