package layoutstore_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// BenchmarkNames finds the names of many layouts, each with a discovery tag. Four times as many
// layouts must take at most 4.4 times as long.
func BenchmarkNames(b *testing.B) {
	for _, n := range []int{5_000, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var entries []layouttest.Entry
			for i := range n {
				entries = append(entries, layouttest.File(fmt.Sprintf("modules/m%06d/index.json", i), []byte(`{"schemaVersion":2,"manifests":[]}`)))
			}
			dir := b.TempDir()
			layouttest.Tar(b, filepath.Join(dir, "x.tar"), entries...)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				tree, err := layoutstore.Open(context.Background(), layoutstore.Options{Sources: []string{dir}, Roots: []string{""}})
				if err != nil {
					b.Fatal(err)
				}
				if got := tree.Snapshot().TagCount(); got != n {
					b.Fatalf("the tree has %d tags, want one per layout", got)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/layout")
		})
	}
}
