package page_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// BenchmarkPages measures how long the pages take for a tree of 2,000 repositories with 20 tags each.
// The 99th percentile should be at most 30 ms.
func BenchmarkPages(b *testing.B) {
	dir := b.TempDir()
	tree := layouttest.New(b, dir)
	for i := range 2000 {
		l := tree.Layout(fmt.Sprintf("modules/m%04d", i))
		d := l.Image(layouttest.Image{Name: "one", LayerSizes: []int64{10}})
		for j := range 20 {
			l.Tag(d, fmt.Sprintf("v1.%d.0", j))
		}
		l.Write()
	}
	p := pages(b, open(b, dir), nil)
	for _, path := range []string{"/", "/repositories", "/repositories?q=m0000", "/repositories?q=nowhere", "/repositories?q=v1.19.0&after=modules/m1900", "/repository/modules/m1000", "/image/modules/m1000:v1.7.0"} {
		b.Run(path, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				get(b, p, path, http.StatusOK)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
