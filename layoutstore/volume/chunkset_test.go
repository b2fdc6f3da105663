package volume

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// everySet calls do with every chunk set of up to four chunks, each of one of the given sizes.
func everySet(sizes []int64, do func(sizes []int64, s *seams)) {
	var next func(set []int64)
	next = func(set []int64) {
		s, end := &seams{last: len(set) - 1}, int64(0)
		for _, n := range set {
			end += n
			s.ends = append(s.ends, end)
		}
		do(set, s)
		if len(set) == 4 {
			return
		}
		for _, n := range sizes {
			next(append(slices.Clone(set), n))
		}
	}
	next(nil)
}

// The binary searches for chunks must return the same as loops over all chunks.
func TestFindChunksByOffset(t *testing.T) {
	everySet([]int64{0, 1, 2, 5}, func(sizes []int64, s *seams) {
		total := int64(0)
		for _, n := range sizes {
			total += n
		}
		for from := int64(0); from <= total+2; from++ {
			if s.isEnd(from) != slices.Contains(s.ends, from) {
				t.Errorf("chunks of %v bytes: isEnd(%d) = %v, want %v", sizes, from, s.isEnd(from), !s.isEnd(from))
			}
			wantChunk, wantAt := findChunk(sizes, from)
			if chunk, at := s.at(from); chunk != wantChunk || at != wantAt {
				t.Errorf("chunks of %v bytes: byte %d is byte %d of chunk %d, want byte %d of chunk %d", sizes, from, at, chunk, wantAt, wantChunk)
			}
			for to := from; to <= total+2; to++ {
				var want []int
				for i, end := range s.ends {
					if end >= from && end < to {
						want = append(want, i)
					}
				}
				if got := s.between(from, to); got.isEmpty() != (want == nil) || want != nil && (got.from != want[0] || got.to != want[len(want)-1]) {
					t.Errorf("chunks of %v bytes: between(%d, %d) is %+v, want %v", sizes, from, to, got, want)
				}
				first, _ := findChunk(sizes, from)
				last, _ := findChunk(sizes, max(from, to-1))
				if got := s.chunksOf(tarEntry{off: from, size: to - from}); got != (indexRange{first, last}) {
					t.Errorf("chunks of %v bytes: bytes %d to %d are in the chunks %+v, want %d to %d", sizes, from, to, got, first, last)
				}
			}
		}
	})
}

// findChunk returns the chunk that contains offset off, and the offset within it. Offsets after the
// end belong to the last chunk.
func findChunk(sizes []int64, off int64) (chunk int, at int64) {
	begin := int64(0)
	for i, n := range sizes {
		if off < begin+n || i == len(sizes)-1 {
			return i, off - begin
		}
		begin += n
	}
	return 0, off
}

// smallest returns a chunk that is smaller than all other chunks by more than these differ from
// each other. The last chunk does not count. If the others differ at all, or if there is only one
// other, the difference must also exceed a third of the next larger chunk, or reach 512 KiB.
func TestSmallestChunkOfSet(t *testing.T) {
	everySet([]int64{0, 89, 90, 100, 101, 200, 2 << 20, 3 << 20}, func(sizes []int64, s *seams) {
		for i := range sizes {
			if s.size(i) != sizes[i] {
				t.Fatalf("chunks of %v bytes: size(%d) = %d, want %d", sizes, i, s.size(i), sizes[i])
			}
			if want := !slices.ContainsFunc(sizes[:i], func(n int64) bool { return n <= sizes[i] }); s.isSmallest(i) != want {
				t.Errorf("chunks of %v bytes: isSmallest(%d) = %v, want %v", sizes, i, s.isSmallest(i), want)
			}
		}
		want, stands := standsOut(sizes)
		for from := range sizes {
			for to := from; to < len(sizes); to++ {
				got, ok := s.smallest(indexRange{from, to})
				if wantOK := stands && from <= want && want <= to; ok != wantOK || ok && got != want {
					t.Errorf("chunks of %v bytes: smallest from %d to %d is %d, %v; want %d, %v", sizes, from, to, got, ok, want, wantOK)
				}
			}
		}
	})
}

func standsOut(sizes []int64) (chunk int, ok bool) {
	if len(sizes) < 3 {
		return 0, false
	}
	sizes = sizes[:len(sizes)-1]
	least := slices.Min(sizes)
	chunk = slices.Index(sizes, least)
	others := slices.Delete(slices.Clone(sizes), chunk, chunk+1)
	spread := slices.Max(others) - slices.Min(others)
	if spread > 0 || len(others) == 1 {
		spread = max(spread, min(512<<10-1, slices.Min(others)/3))
	}
	return chunk, slices.Min(others)-least > spread
}

// A message names up to 16 chunks one by one. If several chunks may be cut short, it also names the
// most likely one.
func TestMessagesAboutChunks(t *testing.T) {
	for r, want := range map[indexRange]struct {
		names    int
		text     string
		describe string
	}{
		{3, 3}:   {1, "chunk 0003", "chunk 0003 is cut short"},
		{3, 4}:   {2, "chunks 0003 to 0004", "chunk 0003 or chunk 0004 is cut short"},
		{3, 5}:   {3, "chunks 0003 to 0005", "chunk 0003, chunk 0004 or chunk 0005 is cut short"},
		{0, 15}:  {16, "chunks 0000 to 0015", ""},
		{0, 16}:  {1, "chunks 0000 to 0016", "one of chunks 0000 to 0016 is cut short"},
		{99, 98}: {0, "", ""},
	} {
		if names := r.names(); len(names) != want.names || len(names) == 1 && names[0] != want.text {
			t.Errorf("names of the range %+v: got %q, want the number of names and the name from the table", r, names)
		}
		if want.text != "" && r.String() != want.text {
			t.Errorf("text of the range %+v: got %q, want the text from the table", r, r.String())
		}
		if want.describe != "" && r.describe("cut short") != want.describe {
			t.Errorf("describe of the range %+v: got %q, want the text from the table", r, r.describe("cut short"))
		}
	}
	s := &seams{ends: []int64{1000, 1100, 2100, 3100}}
	for r, want := range map[indexRange]string{
		{0, 1}: "chunk 0000 or chunk 0001 is cut short, most likely chunk 0001, the smallest",
		{1, 1}: "chunk 0001 is cut short",
		{2, 3}: "chunk 0002 or chunk 0003 is cut short",
	} {
		if got := s.cutShort(r); got != want {
			t.Errorf("cutShort of the range %+v: got %q, want the text from the table", r, got)
		}
	}
	x := scan{seams: s}
	if names := x.suspectNames(indexRange{0, 2}); !slices.Equal(names, []string{"chunk 0001", "chunk 0000", "chunk 0002"}) {
		t.Errorf("suspectNames = %q, want chunk 0001 first, because it is the most likely", names)
	}
	if names := x.suspectNames(indexRange{2, 3}); !slices.Equal(names, []string{"chunk 0002", "chunk 0003"}) {
		t.Errorf("suspectNames = %q, want chunk 0002 and chunk 0003 in this order", names)
	}
}

func TestMessageAboutMissingChunks(t *testing.T) {
	if got := (*seams)(nil).missingText(); got != "" {
		t.Errorf("missingText of an archive in one file = %q, want nothing", got)
	}
	s := &seams{missing: []indexRange{{1, 1}, {3, 4}}}
	if got := s.missingText(); got != "chunk 0001 is missing; chunks 0003 to 0004 are missing" {
		t.Errorf("missingText = %q, want chunk 0001, and the chunks 0003 to 0004", got)
	}
	for more := range 3 {
		s.missing = nil
		for i := range 10 + more {
			s.missing = append(s.missing, indexRange{2 * i, 2 * i})
		}
		got := s.missingText()
		if end := fmt.Sprintf("and %d more ranges of chunks are missing", more); strings.HasSuffix(got, end) != (more > 0) || strings.Count(got, "is missing") != 10 {
			t.Errorf("missingText of 10 or more ranges = %q, want 10 ranges and the number of further ones, if any", got)
		}
	}
}

// Identity changes when a chunk changes in any way. Written changes only when a chunk is written.
func TestIdentityOfChunkSet(t *testing.T) {
	dir := t.TempDir()
	at := time.Unix(1_790_000_000, 0)
	name := func(number string) string { return filepath.Join(dir, "a.tar."+number+".chunk") }
	for i, number := range []string{"0000", "0001", "0002"} {
		layouttest.WriteFile(t, name(number), "chunk")
		layouttest.Try(t, os.Chtimes(name(number), at, at.Add(-time.Duration(i)*time.Hour)))
	}
	only := func() Set {
		t.Helper()
		found, err := FindArchives(dir)
		layouttest.Try(t, err)
		if len(found.Sets) != 1 || !found.Sets[0].Chunked || found.Sets[0].Name != "a.tar" {
			t.Fatalf("found %+v, want only the chunk set a.tar", found)
		}
		return found.Sets[0]
	}
	before := only()
	if !before.Changed.Equal(at) || before.Identity() != only().Identity() || before.Written() != only().Written() || before.seams.last != 2 {
		t.Errorf("got the chunk set %+v, changed at %v; want the last chunk 2, changed at %v, and the same identities in each scan", before, before.Changed, at)
	}
	layouttest.Try(t, os.Chmod(name("0001"), 0o600))
	if now := only(); now.Identity() == before.Identity() || now.Written() != before.Written() {
		t.Error("a change of the mode must change Identity, but not Written")
	}
	for _, number := range []string{"0000", "0001", "0002"} {
		before = only()
		layouttest.Try(t, os.Chtimes(name(number), at, at.Add(time.Hour)))
		if now := only(); now.Identity() == before.Identity() || now.Written() == before.Written() || !now.Changed.Equal(at.Add(time.Hour)) {
			t.Errorf("a write of chunk %s must change Identity, Written and Changed", number)
		}
	}
	before = only()
	layouttest.Try(t, os.Rename(name("0002"), name("0003")))
	if now := only(); now.Identity() == before.Identity() || len(now.files) != 2 || !slices.Equal(now.seams.missing, []indexRange{{2, 2}}) || now.seams.last != 3 {
		t.Errorf("after chunk 0002 was renamed to 0003: got the seams %+v; want 0002 missing, 0003 as the last chunk, and another Identity", now.seams)
	}
}

// Chunk numbers must be below a million. If two chunks have the same number, the one with the
// shorter name is used. Problems are sorted by path.
func TestFindArchivesAndChunks(t *testing.T) {
	for name, want := range map[string]struct {
		archive, number string
		archives, chunk bool
	}{
		"a.tar": {"a.tar", "", true, false}, "a.tar.0007.chunk": {"a.tar", "0007", true, true}, "a.txt": {"a.txt", "", false, false},
		"a.tar.chunk": {"a.tar.chunk", "", false, false},
	} {
		archive, ok := IsArchive(name)
		number, chunk := IsChunk(name)
		if archive != want.archive || ok != want.archives || number != want.number || chunk != want.chunk {
			t.Errorf("%s: IsArchive = %q, %v; IsChunk = %q, %v; want %+v", name, archive, ok, number, chunk, want)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"c.tar", "c.tar.0000.chunk", "b.tar.0000.chunk", "b.tar.00000.chunk", "a.tar.1000000.chunk", "d.tar.99999999999999999999.chunk",
		"e.tar.999999.chunk", "f.tar.0000.chunk", "f.tar.00000.chunk", "g.tar", "g.tar.0000.chunk"} {
		layouttest.WriteFile(t, filepath.Join(dir, name), name)
	}
	found, err := FindArchives(dir)
	layouttest.Try(t, err)
	var names, problems []string
	for _, s := range found.Sets {
		names = append(names, s.Name)
	}
	for _, p := range found.Problems {
		problems = append(problems, fmt.Sprintf("%s %v: %s", p.Path, p.Kind, p.Reason))
	}
	if want := []string{"b.tar", "c.tar", "e.tar", "f.tar", "g.tar"}; !slices.Equal(names, want) {
		t.Errorf("got the archives %q, want b.tar, c.tar, e.tar, f.tar and g.tar", names)
	}
	twice := " conflict: %[1]s.tar.0000.chunk has the same number, so this chunk is not read"
	both := " conflict: its chunks (1) are in the same directory and are not read: remove the archive or the chunks"
	if want := []string{"a.tar.1000000.chunk damaged: illegal chunk number 1000000: it must be below 1000000", "b.tar.00000.chunk" + fmt.Sprintf(twice, "b"), "c.tar" + both,
		"d.tar.99999999999999999999.chunk damaged: illegal chunk number 99999999999999999999: it must be below 1000000", "f.tar.00000.chunk" + fmt.Sprintf(twice, "f"), "g.tar" + both}; !slices.Equal(problems, want) {
		t.Errorf("got these problems, want those that the test lists:\n%s", strings.Join(problems, "\n"))
	}
	if e := found.Sets[2].seams; !slices.Equal(e.missing, []indexRange{{0, 999_998}}) || len(found.Sets[1].files) != 1 || found.Sets[1].Chunked {
		t.Errorf("e.tar: got the seams %+v, want the chunks 0 to 999998 missing; c.tar: want one file that is not a chunk", e)
	}
}

// scanned returns a scan of a chunk set that is cut at the given offsets, and the entries of the set.
func scanned(t *testing.T, entries []layouttest.Entry, padding []byte, places ...int64) (*scan, []scannedEntry) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.tar")
	layouttest.Tar(t, file, entries...)
	layouttest.WriteFile(t, file, append(layouttest.ReadFile(t, file), padding...))
	var all []scannedEntry
	for i, p := range layouttest.Places(t, file) {
		body := p.Body + p.Size
		all = append(all, scannedEntry{name: entries[i].Header.Name, entry: tarEntry{off: p.Body, size: p.Size}, isFile: true, start: p.Header, body: body, end: (body + 511) / 512 * 512})
	}
	layouttest.CutAt(t, file, places...)
	found, err := FindArchives(dir)
	layouttest.Try(t, err)
	set := found.Sets[0]
	w := newWindow(t.Context(), set.list())
	t.Cleanup(w.Close)
	return &scan{size: w.size, window: w, layouts: map[string]*scanLayout{}, seams: set.seams, spanBudget: math.MaxInt64}, all
}

func wrongBlob(n int) layouttest.Entry {
	return layouttest.File("x/blobs/sha256/"+digest.FromString("other").Encoded(), bytes.Repeat([]byte("x"), n))
}

func rightBlob(n int) layouttest.Entry {
	content := bytes.Repeat([]byte("y"), n)
	return layouttest.File("x/blobs/sha256/"+digest.FromBytes(content).Encoded(), content)
}

// If a small entry spans several chunks, a scan verifies it immediately, as long as the budget allows it.
func TestVerifyEntriesAcrossChunks(t *testing.T) {
	const size = 3000
	start := int64(512 + 512) // where the second entry begins
	for _, c := range []struct {
		place, budget int64
		refused       bool
	}{
		// The chunk ends before the entry.
		{start, size, false},
		// The chunk ends in the header of the entry.
		{start + 1, size, true},
		{start + 512, size, true},
		{start + 512 + size - 1, size, true},
		// The chunk ends after the content of the entry.
		{start + 512 + size, size, false},
		// The budget is too small for the entry.
		{start + 600, size - 1, false},
	} {
		s, all := scanned(t, []layouttest.Entry{rightBlob(10), wrongBlob(size)}, nil, c.place)
		s.spanBudget = c.budget
		layouttest.Try(t, s.recordEntry(t.Context(), all[1]))
		p, refused := s.refused[all[1].entry.off]
		if refused != c.refused || s.last.start != all[1].start {
			t.Errorf("cut at offset %d with a budget of %d bytes: entry refused: %v, want %v; offset of the last entry: %d, want %d", c.place, c.budget, refused, c.refused, s.last.start, all[1].start)
		}
		if refused && (s.spanBudget != 0 || p.Kind != problem.Damaged || p.Entry != all[1].name || !strings.HasPrefix(p.Reason, "checksum mismatch: chunk 0000 is cut short, or chunk 000")) {
			t.Errorf("got the problem %+v and a rest of the budget of %d bytes; want a checksum mismatch and 0 bytes", p, s.spanBudget)
		}
		s.seams = nil
		s.refused = nil
		if layouttest.Try(t, s.recordEntry(t.Context(), all[1])); s.refused != nil {
			t.Error("recordEntry verified an entry in an archive without chunks, want no verification")
		}
	}
	for size, refused := range map[int]bool{maxSpanProof: true, maxSpanProof + 1: false} {
		s, all := scanned(t, []layouttest.Entry{wrongBlob(size)}, nil, 2000)
		layouttest.Try(t, s.recordEntry(t.Context(), all[0]))
		if (s.refused != nil) != refused {
			t.Errorf("damaged entry of %d bytes: refused: %v, want %v", size, s.refused != nil, refused)
		}
		all[0].end = -1 // the end of the entry is unknown
		s.refused = nil
		if layouttest.Try(t, s.recordEntry(t.Context(), all[0])); s.refused != nil {
			t.Error("recordEntry verified an entry whose end is unknown, want no verification")
		}
	}
}

// If the chain of headers breaks, the last entry before the break is refused if its content is wrong, or if
// its content cannot be proven and a chunk ends inside it. The chunks that end after this entry are suspects.
// So are those that end inside it, unless its content is proven.
func TestLastEntryBeforeHeadersBreakOff(t *testing.T) {
	const size, before = 3000, 1024
	body := int64(before + 512 + size)
	for name, c := range map[string]struct {
		entry   layouttest.Entry
		places  []int64
		want    indexRange
		refused problem.Kind // empty if the entry is served
		reason  string
	}{
		"intact entry, cut inside it":                   {rightBlob(size), []int64{2000}, indexRange{1, 0}, "", ""},
		"intact entry, cut after it":                    {rightBlob(size), []int64{body}, indexRange{0, 0}, "", ""},
		"intact entry, cut inside and after it":         {rightBlob(size), []int64{2000, body}, indexRange{1, 1}, "", ""},
		"damaged entry, not cut":                        {wrongBlob(size), []int64{500}, indexRange{1, 0}, problem.Damaged, "checksum mismatch: chunk 0001 is damaged"},
		"damaged entry, cut after it":                   {wrongBlob(size), []int64{body}, indexRange{0, 0}, problem.Damaged, "checksum mismatch: chunk 0000 is damaged"},
		"damaged entry, cut inside it":                  {wrongBlob(size), []int64{2000}, indexRange{0, 0}, problem.Incomplete, "not served: chunk 0000 is cut short"},
		"damaged entry, cut in its header":              {wrongBlob(size), []int64{before + 1}, indexRange{0, 0}, problem.Incomplete, "not served: chunk 0000 is cut short"},
		"damaged entry, cut before it":                  {wrongBlob(size), []int64{before}, indexRange{1, 0}, problem.Damaged, "checksum mismatch: chunk 0001 is damaged"},
		"damaged entry, cut inside and after it":        {wrongBlob(size), []int64{2000, body}, indexRange{0, 1}, problem.Incomplete, "not served: chunk 0000 is cut short"},
		"entry without digest, not cut":                 {layouttest.File("x/other", make([]byte, size)), []int64{500}, indexRange{1, 0}, "", ""},
		"entry without digest, cut inside it":           {layouttest.File("x/other", make([]byte, size)), []int64{2000}, indexRange{0, 0}, problem.Incomplete, "not served: chunk 0000 is cut short"},
		"entry without digest, cut far after it":        {layouttest.File("x/other", make([]byte, size)), []int64{body + 600}, indexRange{0, -1}, "", ""},
		"entry without digest, cut inside and after it": {layouttest.File("x/other", make([]byte, size)), []int64{2000, 2100, body + 10}, indexRange{0, 2}, problem.Incomplete, "not served: chunk 0000 or chunk 0001 is cut short"},
	} {
		s, all := scanned(t, []layouttest.Entry{rightBlob(10), c.entry}, nil, c.places...)
		s.last = all[1]
		got, err := s.checkLastEntry(t.Context(), body+100)
		layouttest.Try(t, err)
		if got.isEmpty() != c.want.isEmpty() || !got.isEmpty() && got != c.want {
			t.Errorf("%s: got the suspects %+v, want %+v", name, got, c.want)
		}
		p, refused := s.refused[all[1].entry.off]
		if refused != (c.reason != "") || refused && (p.Kind != c.refused || !strings.HasPrefix(p.Reason, c.reason) || p.Entry != all[1].name) {
			t.Errorf("%s: entry refused: %v, problem %+v; want the kind %q, and a reason that begins with %q", name, refused, p, c.refused, c.reason)
		}
		// At the start of the archive, there is no last entry to verify.
		s.last, s.refused = scannedEntry{}, nil
		if got, err := s.checkLastEntry(t.Context(), c.places[0]+1); err != nil || got != (indexRange{0, 0}) || s.refused != nil {
			t.Errorf("%s, without a last entry: got the suspects %+v and the error %v, want chunk 0000 and no error", name, got, err)
		}
	}
}

// If a set ends early, the sizes of its chunks determine which chunks to copy again. The chunk after
// the last one is named, unless the last one is smaller than all others.
func TestChunkSetEndsEarly(t *testing.T) {
	for name, c := range map[string]struct {
		ends     []int64
		missing  []indexRange
		suspects indexRange
		again    []string
		reason   string
	}{
		"a chunk is missing": {[]int64{100, 200}, []indexRange{{2, 3}, {5, 5}}, indexRange{0, 1}, []string{"chunk 0002", "chunk 0003"}, ""},
		"a small last chunk": {[]int64{100, 150}, nil, indexRange{0, -1}, []string{"chunk 0001", behindLast},
			"the chunk set ends early, after chunk 0001: chunk 0001 is cut short, or later chunks are missing: how; copy chunk 0001 or any later chunks again"},
		"a last chunk as large as the others": {[]int64{100, 200}, nil, indexRange{0, -1}, []string{"chunk 0002", "chunk 0001"},
			"chunk 0002 is missing, or chunk 0001 is cut short: how"},
		"a last chunk as large as the others, which are suspects": {[]int64{100, 200, 300}, nil, indexRange{1, 1}, []string{"chunk 0003", "chunk 0001", "chunk 0002"},
			"chunk 0003 is missing, or chunk 0001 or chunk 0002 is cut short: how"},
		"an empty last chunk": {[]int64{100, 200, 200}, nil, indexRange{0, -1}, []string{"chunk 0001", "chunk 0002", behindLast},
			"the chunk set ends early, after chunk 0002: chunk 0001 or chunk 0002 is cut short, or later chunks are missing: how; copy chunk 0001 or chunk 0002 or any later chunks again"},
	} {
		s := &scan{size: c.ends[len(c.ends)-1], seams: &seams{ends: c.ends, missing: c.missing, last: len(c.ends) - 1}}
		p := s.truncatedChunks(c.suspects, "how")
		if p.Kind != problem.Incomplete || p.Reason != c.reason || !slices.Equal(p.Chunks, c.again) || !slices.Equal(s.copyAgain, c.again) {
			t.Errorf("%s: got the problem %+v, want the reason and the chunks from the table", name, p)
		}
	}
	// The entry in which the set ends cannot be served.
	s, all := scanned(t, []layouttest.Entry{rightBlob(10), wrongBlob(3000)}, nil, 1024)
	p := s.truncatedEntry(&tar.Header{Name: all[1].name, Typeflag: tar.TypeReg}, all[1])
	lost := s.refused[all[1].entry.off]
	if lost.Kind != problem.Incomplete || !slices.Equal(lost.Chunks, []string{"chunk 0002", "chunk 0001"}) || !slices.Equal(lost.Chunks, p.Chunks) || !strings.HasPrefix(lost.Reason, problem.Missing) || !strings.Contains(p.Reason, all[1].name) {
		t.Errorf("got the problem %+v for the entry, and %+v for the archive; want both to list chunk 0002 and chunk 0001", lost, p)
	}
}

// Two empty blocks are the end of an archive, with two exceptions. Either data follows them, and a chunk that
// ends before them may be cut short. Or a chunk ends inside the last entry, whose content is wrong.
func TestEndOfChunkSet(t *testing.T) {
	const size = 3000
	next := int64(1024 + 512 + 3072)
	early := bytes.Repeat([]byte{0}, maxTrailingPadding)
	early[0] = 1
	for name, c := range map[string]struct {
		entry   layouttest.Entry
		padding []byte
		places  []int64
		reason  string // the reason of the problem; empty if there is none
	}{
		"little padding":                                  {rightBlob(size), make([]byte, maxTrailingPadding), []int64{next}, ""},
		"much padding":                                    {rightBlob(size), make([]byte, maxTrailingPadding+1), []int64{next}, "chunk 0000 is cut short: the end of the archive is at byte 0 of chunk 0001, too early; copy chunk 0000 again"},
		"bytes":                                           {rightBlob(size), early, []int64{next}, "chunk 0000 is cut short: the end of the archive is at byte 0 of chunk 0001, too early; copy chunk 0000 again"},
		"data in a further chunk":                         {rightBlob(size), early, []int64{next, next + 1024}, ""}, // the data is left over from a longer set
		"data follows, cut in an intact entry":            {rightBlob(size), early, []int64{2000}, ""},
		"data follows, cut before the entry":              {wrongBlob(size), early, []int64{1024}, ""},
		"no data follows, cut in a damaged entry":         {wrongBlob(size), nil, []int64{2000}, "chunk 0000 is cut short: the end of the archive is at byte 2608 of chunk 0001, too early; copy chunk 0000 again"},
		"no data follows, cut in the entry's header":      {wrongBlob(size), nil, []int64{1025}, "chunk 0000 is cut short: the end of the archive is at byte 3583 of chunk 0001, too early; copy chunk 0000 again"},
		"no data follows, cut in an entry without digest": {layouttest.File("x/other", make([]byte, size)), nil, []int64{2000}, ""},
		"data follows, cut behind the end":                {wrongBlob(size), early, []int64{next + 1}, ""},
		"cut before the entry and behind it":              {wrongBlob(size), nil, []int64{1024, next}, ""},
		"data follows, three chunks are suspects":         {layouttest.File("x/other", make([]byte, size)), early, []int64{2000, 2100, 4200}, "chunk 0000, chunk 0001 or chunk 0002 is cut short, most likely chunk 0001, the smallest: the end of the archive is at byte 408 of chunk 0003, too early; copy chunk 0001 or chunk 0000 or chunk 0002 again"},
	} {
		s, all := scanned(t, []layouttest.Entry{rightBlob(10), c.entry}, c.padding, c.places...)
		s.last = all[1]
		p, err := s.checkEnd(t.Context(), next)
		layouttest.Try(t, err)
		reason := ""
		if p != nil {
			reason = p.Reason
		}
		if reason != c.reason || s.tarEnd != next+1024 || (p != nil) != (len(s.copyAgain) > 0) {
			t.Errorf("%s: got the reason %q and the chunks to copy again %q, want the reason %q", name, reason, s.copyAgain, c.reason)
		}
		if strings.Contains(name, "before the entry") && s.refused != nil || strings.Contains(name, "behind the end") && s.refused != nil {
			t.Errorf("%s: got the refused entries %v, want none", name, s.refused)
		}
		if name == "data follows, three chunks are suspects" && (s.copyAgain[0] != "chunk 0001" || len(s.copyAgain) != 3) {
			t.Errorf("%s: got the chunks to copy again %q, want three, with chunk 0001 first", name, s.copyAgain)
		}
	}
}

// If chunks cannot be read, each step of a scan returns the error instead of a problem.
func TestUnreadableChunksAreErrors(t *testing.T) {
	next := int64(1024 + 512 + 3072)
	for name, do := range map[string]func(s *scan, last scannedEntry) error{
		"record": func(s *scan, last scannedEntry) error { return s.recordEntry(t.Context(), last) },
		"no header": func(s *scan, _ scannedEntry) error {
			_, err := s.missingHeader(t.Context(), next, "")
			return err
		},
		"truncated": func(s *scan, _ scannedEntry) error {
			_, err := s.truncatedEnd(t.Context(), "how")
			return err
		},
		"the last": func(s *scan, _ scannedEntry) error {
			_, err := s.checkLastEntry(t.Context(), next)
			return err
		},
		"the end": func(s *scan, _ scannedEntry) error {
			_, err := s.checkEnd(t.Context(), next)
			return err
		},
	} {
		for _, padding := range []int{0, 2000} {
			s, all := scanned(t, []layouttest.Entry{rightBlob(10), rightBlob(3000)}, make([]byte, padding), 2000)
			s.last = all[1]
			for _, x := range s.window.list {
				layouttest.Try(t, os.Remove(x.File.String()))
			}
			if err := do(s, all[1]); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("step %q with %d bytes of padding: got the error %v, want fs.ErrNotExist", name, padding, err)
			}
		}
	}
}
