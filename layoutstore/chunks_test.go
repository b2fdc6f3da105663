package layoutstore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// startsOf returns the offset in the archive at which each chunk begins.
func startsOf(t *testing.T, chunks []string) []int64 {
	t.Helper()
	starts := make([]int64, len(chunks))
	for i := range chunks[1:] {
		starts[i+1] = starts[i] + size(t, chunks[i])
	}
	return starts
}

var cuts = map[string]func(t *testing.T, archive string) []string{
	"as d8 cuts":                func(t *testing.T, archive string) []string { return layouttest.Split(t, archive, 3000) },
	"as d8 cuts, in few chunks": func(t *testing.T, archive string) []string { return layouttest.Split(t, archive, 20_000) },
	"evenly":                    func(t *testing.T, archive string) []string { return layouttest.Cut(t, archive, 4096) },
	"block by block":            func(t *testing.T, archive string) []string { return layouttest.Cut(t, archive, 512) },
	"in two":                    func(t *testing.T, archive string) []string { return layouttest.CutAt(t, archive, 5000) },
}

func TestReportOfALostChunk(t *testing.T) {
	for how, cut := range cuts {
		tree := buildUsual(t, "")
		have := contentOf(t, tree)
		archive := pack(t, tree)
		places := layouttest.Places(t, archive)
		chunks := cut(t, archive)
		starts := startsOf(t, chunks)
		step := max(len(chunks)/rounds(10, 30), 1)
		for i := 0; i < len(chunks); i += step {
			withoutChunk(t, chunks, i, func() {
				opened := openWith(t, archiveOptions(filepath.Dir(archive)))
				if starts[i] >= places[len(places)-1].End+1024 { // the chunk is empty or contains only padding
					wantAll(t, opened, have)
					return
				}
				wantServed(t, opened, have, readableWithout(places, have, starts[i], never))
				says, named := fmt.Sprintf("chunk %04d is missing", i), fmt.Sprintf("chunk %04d", i)
				if i == 1 && len(chunks) == 2 { // chunk 0000 does not show how many chunks there were
					says, named = "the chunk set ends early, after chunk 0000: chunk 0000 is cut short, or later chunks are missing", "chunk 0000"
				}
				wantProblem(t, opened, layoutstore.Incomplete, archive, says)
				wantChunkNamed(t, opened, named)
			})
		}
		wantAll(t, openWith(t, archiveOptions(filepath.Dir(archive))), have)
		if t.Failed() {
			t.Fatalf("see the errors above: they occurred with an archive cut %s", how)
		}
	}
}

// wantChunkNamed checks that every problem of the tree names the chunk that must be copied again.
func wantChunkNamed(t *testing.T, opened *layoutstore.Tree, chunk string) {
	t.Helper()
	for _, p := range allProblems(t, opened) {
		if p.Chunk() != chunk || !strings.Contains(p.Reason, chunk) {
			t.Errorf("got the problem %+v, want only problems that name %s", p, chunk)
		}
	}
}

// A stray chunk with a high number does not make the report of missing chunks long or slow.
func TestStrayChunkWithHighNumber(t *testing.T) {
	tree := buildUsual(t, "")
	archive := pack(t, tree)
	layouttest.CutAt(t, archive)
	for _, n := range []int{7, 9, 999_999} {
		layouttest.WriteFile(t, fmt.Sprintf("%s.%04d.chunk", archive, n), []byte("stray"))
	}
	opened := openWith(t, archiveOptions(filepath.Dir(archive)))
	wantServed(t, opened, contentOf(t, tree), all)
	found := allProblems(t, opened)
	const want = "chunks 0001 to 0006 are missing; chunk 0008 is missing; chunks 0010 to 999998 are missing; or the archive ends in chunk 0000, and the later chunks are left over from a longer archive"
	if len(found) != 1 || found[0].Reason != want || found[0].Kind != layoutstore.Incomplete {
		t.Errorf("got the problems %v, want one of the kind incomplete that lists the missing chunks", found)
	}
}

// However an archive is cut, all of its content is served, and there are no problems.
func TestChunksServeTheSameAsTheArchive(t *testing.T) {
	random := rand.New(rand.NewPCG(23, 4))
	for round := range rounds(6, 60) {
		tree := randomTree(t, random, round)
		have := contentOf(t, tree)
		archive := pack(t, tree)
		data := layouttest.ReadFile(t, archive)
		places := layouttest.Places(t, archive)
		for _, at := range [][]int64{
			{}, {0}, {0, 0, int64(len(data))}, {int64(len(data)), int64(len(data))},
			randomPlaces(random, int64(len(data))), randomPlaces(random, int64(len(data))),
			middles(places), bodies(places),
		} {
			layouttest.WriteFile(t, archive, data)
			chunks := layouttest.CutAt(t, archive, at...)
			wantAll(t, openWith(t, archiveOptions(filepath.Dir(archive))), have)
			removeAll(t, chunks)
		}
		for _, limit := range []int64{int64(len(data)), int64(len(data)) / 2, 1 + random.Int64N(9000)} {
			layouttest.WriteFile(t, archive, data)
			chunks := layouttest.Split(t, archive, limit)
			wantAll(t, openWith(t, archiveOptions(chunks[0])), have)
			removeAll(t, chunks)
		}
		if t.Failed() {
			t.Fatalf("see the errors above: they occurred in round %d", round)
		}
	}
}

// rounds returns how often a test repeats a step: few or, with LAYOUTPROXY_TEST_ALL=1, many times.
func rounds(few, many int) int {
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		return many
	}
	return few
}

// randomTree returns a tree of two layouts with layers of random sizes.
func randomTree(t *testing.T, random *rand.Rand, seed int) *layouttest.Tree {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	for _, p := range []string{"install", "modules/x"} {
		l := tree.Layout(p)
		for _, tag := range []string{"v1", "v2"} {
			sizes := []int64{1 + random.Int64N(700), 1 + random.Int64N(30_000)}
			l.Tag(l.Image(layouttest.Image{Name: fmt.Sprint(seed, p, tag), LayerSizes: sizes}), tag)
		}
		l.Write()
	}
	return tree
}

func randomPlaces(random *rand.Rand, size int64) []int64 {
	all := make([]int64, random.IntN(20))
	for i := range all {
		all[i] = random.Int64N(size + 1)
	}
	slices.Sort(all)
	return all
}

// middles returns an offset in the middle of the header of each entry.
func middles(places []layouttest.Place) (all []int64) {
	for i, p := range places {
		all = append(all, p.Header+1+int64(i*37)%511)
	}
	return all
}

// bodies returns the offset at which the content of each entry begins.
func bodies(places []layouttest.Place) (all []int64) {
	for _, p := range places {
		all = append(all, p.Body)
	}
	return all
}

func removeAll(t *testing.T, files []string) {
	t.Helper()
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTruncatedChunk truncates each chunk in turn. All content before the cut must be served, and
// no wrong content. If a file is not served, a problem must name the chunk, and may name other
// chunks as well. If the chunk ends exactly before a header, the only problems are missing blobs.
func TestTruncatedChunk(t *testing.T) {
	random := rand.New(rand.NewPCG(23, 5))
	for how, cut := range cuts {
		tree := buildUsual(t, how)
		have := contentOf(t, tree)
		archive := pack(t, tree)
		places := layouttest.Places(t, archive)
		chunks := cut(t, archive)
		starts := startsOf(t, chunks)
		for i := 0; i < len(chunks); i += max(len(chunks)/rounds(4, 80), 1) {
			data := layouttest.ReadFile(t, chunks[i])
			for _, n := range shorter(random, int64(len(data))) {
				layouttest.WriteFile(t, chunks[i], data[:n])
				wantServedOfTruncated(t, archive, have, places, starts[i]+n, i)
				if t.Failed() {
					t.Fatalf("see the errors above: they occurred with %d of %d bytes of chunk %d, in an archive cut %s", n, len(data), i, how)
				}
			}
			layouttest.WriteFile(t, chunks[i], data)
		}
	}
}

// shorter returns sizes below size, both random ones and multiples of a tar block.
func shorter(random *rand.Rand, size int64) (all []int64) {
	all = []int64{0, 1, size / 512 / 2 * 512, size - 1024, size - 512, size - 1}
	for range rounds(2, 20) {
		all = append(all, random.Int64N(size+1), random.Int64N(size/512+1)*512)
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(n int64) bool { return n < 0 || n >= size })
}

// wantServedOfTruncated checks what is served and reported if chunk i is truncated. cut is the
// offset in the archive at which the truncated chunk ends.
func wantServedOfTruncated(t *testing.T, archive string, have content, places []layouttest.Place, cut int64, i int) {
	t.Helper()
	opened := openWith(t, archiveOptions(filepath.Dir(archive)))
	before := readableWithout(places, have, cut, never)
	lost := false
	for name, want := range have {
		layout, d, ok := blobAt(name)
		if !ok {
			continue
		}
		err := readBlob(t, opened, repositoryName(layout), d) // readBlob itself fails the test if the content is wrong
		if err != nil && before(name) && before(path.Join(layout, "index.json")) {
			t.Errorf("reading %s (%d bytes, all before the cut): got error %v, want none", name, len(want), err)
		}
		lost = lost || err != nil
	}
	found := allProblems(t, opened)
	if !lost {
		return
	}
	broken := slices.ContainsFunc(found, func(p layoutstore.Problem) bool { return p.Chunk() != "" })
	named := slices.ContainsFunc(found, func(p layoutstore.Problem) bool { return namesChunk(p.Reason, i) })
	if len(found) == 0 || broken && !named {
		t.Errorf("some content is not served: want a problem that names chunk %d, got the problems %v", i, found)
	}
}

// namesChunk reports whether a text names a chunk by its number, alone or in a range.
func namesChunk(text string, chunk int) bool {
	for _, word := range []string{"chunk ", "chunks "} {
		for rest := text; ; {
			_, after, ok := strings.Cut(rest, word)
			if !ok {
				break
			}
			rest = after
			var from, to int
			if n, _ := fmt.Sscanf(after, "%d to %d", &from, &to); n == 1 && from == chunk || n == 2 && from <= chunk && chunk <= to {
				return true
			}
		}
	}
	return false
}

// Some tools write an index before its blobs. So the index may refer to content in or after a
// missing chunk. Each problem of such content names the missing chunk.
func TestLostContentNamesItsChunk(t *testing.T) {
	tree := build(t, "", "install")
	archive := filepath.Join(t.TempDir(), "platform.tar")
	have := contentOf(t, tree)
	entries := []layouttest.Entry{layouttest.File("install/index.json", have["install/index.json"])}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if name != "install/index.json" {
			entries = append(entries, layouttest.File(name, have[name]))
		}
	}
	layouttest.Tar(t, archive, entries...)
	places := layouttest.Places(t, archive)
	chunks := layouttest.Split(t, archive, 3000)
	starts := startsOf(t, chunks)
	for i := 1; i < len(chunks)-1; i++ {
		withoutChunk(t, chunks, i, func() {
			opened := openWith(t, archiveOptions(filepath.Dir(archive)))
			whole := readableWithout(places, have, starts[i], never)
			wantServed(t, opened, have, whole)
			chunk := fmt.Sprintf("chunk %04d", i)
			wantChunkNamed(t, opened, chunk)
			named := map[string]bool{}
			for _, p := range allProblems(t, opened) {
				named[p.Entry] = true
			}
			// If a manifest is missing, the blobs to which only this manifest refers are unknown.
			for _, tag := range []string{"v1", "v2"} {
				top, err := repository(t, opened, repositoryName("install")).Tag(t.Context(), tag)
				if err != nil {
					t.Fatal(err)
				}
				name := "install/blobs/sha256/" + top.Digest.Encoded()
				if whole(name) {
					continue
				}
				if !named[name] {
					t.Errorf("missing manifest %s: got no problem, want one", name)
				}
				// A client gets this error text.
				_, err = repository(t, opened, repositoryName("install")).Manifest(context.Background(), top.Digest)
				if !errors.Is(err, layoutstore.ErrManifestUnknown) || !strings.Contains(err.Error(), "platform.tar: missing: copy "+chunk+" again") {
					t.Errorf("Manifest(missing manifest): got the error %v, want ErrManifestUnknown with the chunk to copy again", err)
				}
			}
		})
	}
}
