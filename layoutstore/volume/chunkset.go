package volume

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// join makes a chunk set. It includes only the chunks before the first missing one. The size of a
// missing chunk is unknown, so nothing after it can be located.
func (f *finder) join(name string, chunks []chunk) Set {
	chunks = f.sortChunks(chunks)
	s := Set{Name: name, Chunked: true, dir: f.found.Dir, seams: &seams{}}
	id, written := sha256.New(), sha256.New() // hashes are short, which matters because the stamp of each layout contains the identity
	var end int64
	next := 0
	for _, c := range chunks {
		if c.changed.After(s.Changed) {
			s.Changed = c.changed
		}
		fmt.Fprintf(id, "%d: %s;", c.number, c.identity)
		fmt.Fprintf(written, "%d: %s;", c.number, c.written)
		if c.number > next {
			s.seams.missing = append(s.seams.missing, indexRange{next, c.number - 1})
		}
		next = c.number + 1
		if len(s.seams.missing) > 0 {
			continue
		}
		end += c.file.Len
		s.files = append(s.files, c.file)
		s.seams.ends = append(s.seams.ends, end)
	}
	s.seams.last = next - 1
	s.identity, s.written = hex.EncodeToString(id.Sum(nil)), hex.EncodeToString(written.Sum(nil))
	return s
}

// sortChunks sorts chunks by their number. If two chunks have the same number, it keeps the one
// with the shorter name, which is the name that the format defines.
func (f *finder) sortChunks(chunks []chunk) []chunk {
	slices.SortFunc(chunks, func(a, b chunk) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(len(a.name), len(b.name)))
	})
	return slices.CompactFunc(chunks, func(b, a chunk) bool { // CompactFunc passes the later element first
		if a.number == b.number {
			f.report(problem.Conflict, b.name, fmt.Errorf("%s has the same number, so this chunk is not read", a.name))
		}
		return a.number == b.number
	})
}

// seams describes where the chunks of a set meet in the joined archive, and which chunks are
// missing. It is nil for an archive in one file.
type seams struct {
	// ends contains the offset at which each chunk ends, up to the first missing chunk.
	ends []int64
	// missing contains the ranges of missing chunks before the last chunk.
	missing []indexRange
	// last is the highest chunk number.
	last  int
	sizes sync.Once
	small smallest // set by the first call of the method smallest
}

// smallest describes the smallest chunk of a set. The last chunk does not count.
type smallest struct {
	// chunk is the number of the smallest chunk. It is negative if the set has fewer than three chunks.
	chunk int
	// size is the size of that chunk in bytes. next and most are the smallest and the largest size
	// of the other chunks.
	size, next, most int64
}

// indexRange is a range of chunk numbers, including both ends. If to is less than from, the range is empty.
type indexRange struct{ from, to int }

func (r indexRange) isEmpty() bool { return r.to < r.from }

// names returns the names of the chunks for use in a message. If there are more than maxNamed
// chunks, it returns the range as one name.
func (r indexRange) names() []string {
	if r.to-r.from >= maxNamed {
		return []string{r.String()}
	}
	var all []string
	for i := r.from; i <= r.to; i++ {
		all = append(all, chunkLabel(i))
	}
	return all
}

// maxNamed is how many chunks a message names one by one.
const maxNamed = 16

func chunkLabel(i int) string { return fmt.Sprintf("chunk %04d", i) }

func (r indexRange) String() string {
	if r.from == r.to {
		return chunkLabel(r.from)
	}
	return fmt.Sprintf("chunks %04d to %04d", r.from, r.to)
}

// describe returns a message about a range of chunks, such as "chunk 0001 or chunk 0002 is STATE".
func (r indexRange) describe(state string) string {
	names := r.names()
	switch last := len(names) - 1; {
	case r.from == r.to:
		return names[0] + " is " + state
	case last == 0: // a range
		return fmt.Sprintf("one of %s is %s", r, state)
	default:
		return fmt.Sprintf("%s or %s is %s", strings.Join(names[:last], ", "), names[last], state)
	}
}

// between returns the chunks that end at an offset in the range from <= offset < to.
func (s *seams) between(from, to int64) indexRange {
	i := sort.Search(len(s.ends), func(i int) bool { return s.ends[i] >= from })
	j := sort.Search(len(s.ends), func(i int) bool { return s.ends[i] >= to })
	return indexRange{i, j - 1}
}

// isEnd reports whether a chunk ends at offset end, which is after two blocks of zeros. If so, the archive
// ends there, and later chunks are left over from a longer set. If the zeros belonged to an entry that lost
// bytes when a chunk was cut short, they would end exactly with a chunk only by chance.
func (s *seams) isEnd(end int64) bool {
	_, found := slices.BinarySearch(s.ends, end)
	return found
}

// at returns the number of the chunk that contains offset off, and the offset within it.
func (s *seams) at(off int64) (chunk int, byteOf int64) {
	i := sort.Search(len(s.ends), func(i int) bool { return s.ends[i] > off })
	i = max(min(i, len(s.ends)-1), 0)
	if i == 0 {
		return 0, off
	}
	return i, off - s.ends[i-1]
}

// chunksOf returns the chunks that contain the content of an entry.
func (s *seams) chunksOf(e tarEntry) indexRange {
	first, _ := s.at(e.off)
	last, _ := s.at(e.off + max(e.size, 1) - 1)
	return indexRange{first, last}
}

func (s *seams) size(i int) int64 {
	if i == 0 {
		return s.ends[0]
	}
	return s.ends[i] - s.ends[i-1]
}

// isSmallest reports whether a chunk is smaller than every chunk before it.
func (s *seams) isSmallest(i int) bool {
	for j := range i {
		if s.size(j) <= s.size(i) {
			return false
		}
	}
	return true
}

// smallest returns the chunk of r that is clearly smaller than all other chunks of the set. The
// difference must exceed the differences between the others. The result is only a hint: the format
// does not promise sizes, but a chunk that was cut short is usually much smaller. The last chunk
// may have any size and does not count.
func (s *seams) smallest(r indexRange) (int, bool) {
	s.sizes.Do(func() { s.small = s.findSmallest() }) // computed once, because each of many damaged entries may ask for it
	small := s.small
	if small.chunk < r.from || small.chunk > r.to {
		return 0, false
	}
	spread := small.most - small.next
	if spread > 0 || len(s.ends) == 3 { // of three chunks, the last does not count, so there is only one to compare with
		spread = max(spread, min(chunkSlice-1, small.next/3))
	}
	return small.chunk, small.next-small.size > spread
}

func (s *seams) findSmallest() smallest {
	if len(s.ends) < 3 {
		return smallest{chunk: -1}
	}
	var sizes []int64
	for i := range s.ends[:len(s.ends)-1] {
		sizes = append(sizes, s.size(i))
	}
	size := slices.Min(sizes)
	chunk := slices.Index(sizes, size)
	others := slices.Delete(sizes, chunk, chunk+1)
	return smallest{chunk, size, slices.Min(others), slices.Max(others)}
}

// chunkSlice is the largest difference in bytes between chunks that d8 writes. d8 closes a chunk
// after the write that fills it (deckhouse-cli, docs/mirror-bundle-layout.md §4.3).
const chunkSlice = 512 << 10

// cutShort returns a message that one of the chunks is cut short. If one chunk is the most likely,
// the message names it.
func (s *seams) cutShort(r indexRange) string {
	text := r.describe("cut short")
	if i, ok := s.smallest(r); ok && r.from < r.to {
		text += fmt.Sprintf(", most likely %s, the smallest", chunkLabel(i))
	}
	return text
}

// areMissing reports whether the given chunks are the first missing ones. Otherwise, they are only suspects.
func (s *seams) areMissing(chunks []string) bool {
	return s != nil && len(s.missing) > 0 && slices.Equal(chunks, s.missing[0].names())
}

// maxRanges is how many ranges of missing chunks a message lists.
const maxRanges = 10

// missingText returns a message that lists the missing chunks. It is empty if none is missing.
func (s *seams) missingText() string {
	if s == nil {
		return ""
	}
	var all []string
	for _, r := range s.missing[:min(len(s.missing), maxRanges)] {
		verb := "is"
		if r.to > r.from {
			verb = "are"
		}
		all = append(all, fmt.Sprintf("%s %s missing", r, verb))
	}
	if more := len(s.missing) - maxRanges; more > 0 {
		all = append(all, fmt.Sprintf("and %d more ranges of chunks are missing", more))
	}
	return strings.Join(all, "; ")
}
