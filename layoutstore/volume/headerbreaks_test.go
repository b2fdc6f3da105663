package volume_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// noise returns n bytes that look neither like a tar header nor like the end of an archive.
func noise(seed uint64, n int) []byte {
	random := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(1 + random.IntN(255))
	}
	return b
}

func blobEntry(content []byte) layouttest.Entry {
	return layouttest.File("x/blobs/sha256/"+digest.FromBytes(content).Encoded(), content)
}

// cutShort packs entries into an archive, and pads it with zeros as tar does. It cuts the archive
// into two chunks at offset at, and removes the last n bytes of the first chunk.
func cutShort(t *testing.T, entries []layouttest.Entry, at, n int64) *volume.Archive {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.tar")
	layouttest.Tar(t, file, entries...)
	info, err := os.Stat(file)
	layouttest.Try(t, err)
	err = os.Truncate(file, (info.Size()+10239)/10240*10240)
	chunks := layouttest.CutAt(t, file, at)
	layouttest.Try(t, errors.Join(err, os.Truncate(chunks[0], at-n)))
	return openArchive(t, dir, "")
}

// After a cut, a scan may find zeros where it expects a header. These zeros belong to a layer or to
// the padding, and must not count as the end of the archive.
func TestZerosAfterCutAreNotEndOfArchive(t *testing.T) {
	index := layouttest.File("x/index.json", []byte(`{"schemaVersion":2,"manifests":[]}`))
	first, cut := noise(1, 700), noise(2, 9000)
	hollow := slices.Concat(noise(3, 100), make([]byte, 4096), noise(4, 100))
	for name, c := range map[string]struct {
		entries []layouttest.Entry
		at, n   int64
		reason  string
	}{
		"zeros in a layer": {[]layouttest.Entry{index, blobEntry(first), blobEntry(cut), blobEntry(hollow)}, 6000, 2048,
			"chunk 0000 is cut short: the end of the archive is at byte "},
		"zeros behind the end": {[]layouttest.Entry{index, blobEntry(first), blobEntry(cut)}, 6000, 2048,
			"chunk 0000 is cut short: the end of the archive is at byte "},
		"a chunk that ends with the entry": {[]layouttest.Entry{index, blobEntry(first), blobEntry(slices.Concat(noise(5, 1024), make([]byte, 4096), noise(6, 100)))}, 2560 + 512 + 1024, 512 + 1024,
			"chunk 0000 is cut short: the end of the archive is at byte 0 of chunk 0001"},
	} {
		t.Run(name, func(t *testing.T) {
			a := cutShort(t, c.entries, c.at, c.n)
			trouble, _ := a.Problem()
			if trouble.Kind != problem.Incomplete || trouble.Chunk() != "chunk 0000" || !strings.HasPrefix(trouble.Reason, c.reason) {
				t.Errorf("Problem() = %+v; want the kind incomplete, chunk 0000, and the reason from the table", trouble)
			}
			wantLocated(t, a, first)
			_, err := a.Locate(t.Context(), "x", digest.FromBytes(cut))
			var lost *problem.Error
			if !errors.As(err, &lost) || !errors.Is(err, fs.ErrNotExist) || lost.Problem.Chunks[0] != "chunk 0000" {
				t.Errorf("Locate of the entry with the cut: got %v, want a problem that names chunk 0000 first", err)
			}
		})
	}
}

func wantLocated(t *testing.T, a *volume.Archive, content []byte) {
	t.Helper()
	where, err := a.Locate(t.Context(), "x", digest.FromBytes(content))
	if err != nil {
		t.Error(err)
		return
	}
	if got, err := where.ReadAll(t.Context()); err != nil || !bytes.Equal(got, content) {
		t.Errorf("located blob: got %d bytes and the error %v, want the %d bytes of the content", len(got), err, len(content))
	}
}

// If a cut removes exactly the length of an entry, the chain of headers does not break. Then only
// the content of the entry with the cut reveals the cut.
func TestCutThatRemovesExactlyOneEntry(t *testing.T) {
	cut, gone, last := noise(2, 9000), noise(3, 100), noise(4, 100)
	a := cutShort(t, []layouttest.Entry{blobEntry(cut), blobEntry(gone), blobEntry(last), layouttest.File("x/index.json", []byte(`{"manifests":[]}`))}, 6000, 1024)
	if trouble, ok := whole(t, a).Problem(); ok {
		t.Errorf("Problem() = %+v, want a complete archive", trouble)
	}
	wantLocated(t, a, last)
	_, err := a.Locate(t.Context(), "x", digest.FromBytes(cut))
	var lost *problem.Error
	if !errors.As(err, &lost) || lost.Problem.Kind != problem.Damaged || !strings.Contains(lost.Problem.Reason, "checksum mismatch: chunk 0000 is cut short") {
		t.Errorf("Locate of the entry with the cut: got %v, want a checksum mismatch because chunk 0000 is cut short", err)
	}
	listing, err := a.Layouts(context.Background())
	if err != nil || len(listing.Layouts) != 1 || len(listing.Problems) != 1 || listing.Problems[0].Chunk() != "chunk 0000" {
		t.Errorf("Layouts: got %+v and the error %v, want one layout and one problem, which names chunk 0000", listing, err)
	}
}

// The last entry before a missing header may contain a cut. It is served if its content matches its digest.
func TestEntryBeforeMissingHeader(t *testing.T) {
	before, last := noise(1, 5000), noise(2, 9000)
	entries := []layouttest.Entry{blobEntry(before), blobEntry(last), layouttest.File("x/index.json", []byte(`{"manifests":[]}`))}
	dir := t.TempDir()
	file := filepath.Join(dir, "a.tar")
	layouttest.Tar(t, file, entries...)
	places := layouttest.Places(t, file)
	data, err := os.ReadFile(file)
	layouttest.Try(t, err)
	data[places[2].Header+150] ^= 4 // this makes the checksum of the header wrong
	for at, want := range map[int64]problem.Problem{
		places[1].Body + 1000: {Kind: problem.Damaged, Chunks: []string{"chunk 0001"}, Suspects: true, Reason: "chunk 0001 is damaged: no header at byte 15360, which is byte 8216 of chunk 0001: "},
		places[2].Header:      {Kind: problem.Incomplete, Chunks: []string{"chunk 0000"}, Suspects: true, Reason: "chunk 0000 is cut short, or chunk 0001 is damaged: no header at byte 15360, which is byte 0 of chunk 0001: "},
	} {
		layouttest.WriteFile(t, file, data)
		chunks := layouttest.CutAt(t, file, at)
		a := openArchive(t, dir, "")
		got, _ := a.Problem()
		if got.Kind != want.Kind || got.Chunk() != want.Chunk() || !strings.HasPrefix(got.Reason, want.Reason) {
			t.Errorf("cut at offset %d: got the problem %+v, want one like %+v", at, got, want)
		}
		advice := "; copy chunk 0001 again"
		if want.Kind == problem.Incomplete {
			advice = "; copy chunk 0000 again, and chunk 0001 if that does not help"
		}
		if !strings.HasSuffix(got.Reason, advice) {
			t.Errorf("cut at offset %d: got the reason %q, want it to end with %q", at, got.Reason, advice)
		}
		wantLocated(t, a, before)
		wantLocated(t, a, last)
		for _, chunk := range chunks {
			layouttest.Try(t, os.Remove(chunk))
		}
	}
}

// A cached index of an older version is not used. That version assumed that all chunks have the same size.
func TestOldCachedIndexIsNotUsed(t *testing.T) {
	dir, cache := t.TempDir(), volume.Cache(t.TempDir())
	layouttest.Tar(t, filepath.Join(dir, "a.tar"), layouttest.File("x/index.json", []byte(`{"manifests":[]}`)))
	openArchive(t, dir, cache).SaveIndex(cache)
	kept, err := filepath.Glob(string(cache) + "/*.index")
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	index, err := os.ReadFile(kept[0])
	layouttest.Try(t, err)
	version := bytes.IndexByte(index, '\n') - 1
	old := slices.Clone(index[:len(index)-sha256.Size])
	old[version] = '1'
	sum := sha256.Sum256(old)
	layouttest.WriteFile(t, kept[0], append(old, sum[:]...))
	openArchive(t, dir, cache).SaveIndex(cache) // this replaces the old index, because the archive was opened without it
	if now, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(now, index) {
		t.Errorf("after SaveIndex, the cached index still has the old version, or reading it failed: %v; want the current index", err)
	}
}

// If several chunks may be cut short and one of them is much smaller than the others, the problem names this
// chunk as the most likely one. If all sizes differ, the problem names no chunk as the most likely one.
func TestProblemNamesMostLikelyChunk(t *testing.T) {
	for name, c := range map[string]struct {
		places []int64
		want   string
	}{
		"even":    {[]int64{3000, 6000, 9000, 12000}, "chunk 0000, chunk 0001 or chunk 0002 is cut short, most likely chunk 0001, the smallest, or chunk 0003 is damaged: "},
		"unequal": {[]int64{3000, 6400, 9500, 12500}, "chunk 0000, chunk 0001 or chunk 0002 is cut short, or chunk 0003 is damaged: "},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "a.tar")
		layouttest.Tar(t, file, blobEntry(noise(1, 10_000)), layouttest.File("x/index.json", noise(2, 9000)))
		chunks := layouttest.CutAt(t, file, c.places...)
		layouttest.Try(t, os.Truncate(chunks[1], c.places[1]-c.places[0]-7))
		if got, _ := openArchive(t, dir, "").Problem(); !strings.HasPrefix(got.Reason, c.want) || got.Kind != problem.Incomplete {
			t.Errorf("%s: got the problem %+v, want the kind incomplete and the reason from the table", name, got)
		}
	}
}

// If a cut removes only complete entries, the digests of the remaining blobs show which chunk was cut short.
func TestBlobRemovedBetweenTwoChunks(t *testing.T) {
	var blobs [][]byte
	for i := range 40 {
		blobs = append(blobs, noise(uint64(i), 100))
	}
	slices.SortFunc(blobs, func(a, b []byte) int {
		return strings.Compare(string(digest.FromBytes(a)), string(digest.FromBytes(b)))
	})
	var entries []layouttest.Entry
	for _, b := range blobs {
		entries = append(entries, blobEntry(b))
	}
	entries = append(entries, layouttest.File("x/index.json", []byte(`{"manifests":[]}`)))
	for lost := range len(blobs) - 3 {
		at := int64(lost+3) * 1024 // each entry takes two blocks
		a := whole(t, cutShort(t, entries, at, 3*1024))
		for i, b := range blobs {
			_, err := a.Locate(t.Context(), "x", digest.FromBytes(b))
			var gone *problem.Error
			switch {
			case i < lost || i >= lost+3:
				wantLocated(t, a, b)
			case !errors.As(err, &gone) || !slices.Equal(gone.Problem.Chunks, []string{"chunk 0000"}):
				t.Errorf("blob %d, with three blobs from %d on removed: got %v, want a problem that names chunk 0000", i, lost, err)
			}
		}
	}
	// If a blob was never in the archive, no chunk may be blamed for it, unless a chunk ends where
	// the blob would have been.
	a := whole(t, cutShort(t, entries, 5*1024+700, 0))
	for i := range 30 {
		d := digest.FromBytes(noise(uint64(1000+i), 10))
		before, _ := slices.BinarySearchFunc(blobs, string(d), func(b []byte, d string) int { return strings.Compare(string(digest.FromBytes(b)), d) })
		if _, err := a.Locate(t.Context(), "x", d); errors.As(err, new(*problem.Error)) != (before == 6) {
			t.Errorf("Locate of a blob that was never in the archive, after %d blobs: got %v; want a problem: %v", before, err, before == 6)
		}
	}
}
