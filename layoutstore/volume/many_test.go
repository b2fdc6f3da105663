package volume_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// manyLayouts writes an archive with n layouts. If chunks is not 0, it cuts the archive into that
// many chunks.
func manyLayouts(t testing.TB, n, chunks int) (dir string) {
	t.Helper()
	var entries []layouttest.Entry
	for i := range n {
		entries = append(entries, layouttest.File(fmt.Sprintf("r%06d/index.json", i), []byte(`{"schemaVersion":2,"manifests":[]}`)))
	}
	dir = t.TempDir()
	file := filepath.Join(dir, "x.tar")
	layouttest.Tar(t, file, entries...)
	if chunks > 0 {
		info, err := os.Stat(file)
		layouttest.Try(t, err)
		layouttest.Cut(t, file, info.Size()/int64(chunks)+1)
	}
	return dir
}

func list(t testing.TB, dir string) int {
	t.Helper()
	listing, err := openArchive(t, dir, "").Layouts(context.Background())
	layouttest.Try(t, err)
	return len(listing.Layouts)
}

// The time to open an archive grows with the number of chunks plus the number of layouts, not with
// their product.
func TestCostOfOpeningManyChunks(t *testing.T) {
	const n, chunks = 300, 100
	costs := func(dir string) float64 {
		return testing.AllocsPerRun(2, func() {
			if got := list(t, dir); got != n {
				t.Fatalf("got %d layouts, want all that were packed", got)
			}
		})
	}
	whole, cut := costs(manyLayouts(t, n, 0)), costs(manyLayouts(t, n, chunks))
	if more := cut - whole; more > 60*chunks {
		t.Errorf("opening one file takes %.0f allocations, and opening %[3]d chunks takes %.0[2]f more; want at most %[4]d more", whole, more, chunks, 60*chunks)
	}
}

// This benchmark opens archives with many layouts: in one file, in chunks, in chunks of which every
// second one is missing, and with one stray chunk after a large gap. Four times as many layouts
// should take at most 4.4 times as long.
func BenchmarkMany(b *testing.B) {
	touch := func(b *testing.B, dir string, number int) {
		layouttest.Try(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("x.tar.%04d.chunk", number)), []byte("stray"), 0o600))
	}
	for _, n := range []int{5_000, 20_000} {
		for name, dir := range map[string]func(b *testing.B) string{
			"file":   func(b *testing.B) string { return manyLayouts(b, n, 0) },
			"chunks": func(b *testing.B) string { return manyLayouts(b, n, n/5) },
			"gaps": func(b *testing.B) string {
				dir := manyLayouts(b, n, 1)
				for i := range n / 5 {
					touch(b, dir, 2*i+5)
				}
				return dir
			},
			"stray": func(b *testing.B) string {
				dir := manyLayouts(b, n, 1)
				touch(b, dir, 999_999)
				return dir
			},
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				dir := dir(b)
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					list(b, dir)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/layout")
			})
		}
	}
}
