package ready_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/ready"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// BenchmarkModules gathers the facts of many modules, and reports the memory that the facts occupy. The time
// must be proportional to the number of modules.
func BenchmarkModules(b *testing.B) {
	for _, modules := range []int{50, 200} {
		tree := layouttest.New(b, b.TempDir())
		for m := range modules {
			l := tree.Layout(fmt.Sprintf("modules/m%04d", m))
			for v := range 20 {
				l.Tag(l.Image(layouttest.Image{Name: fmt.Sprint(m, v), LayerSizes: []int64{300}}), fmt.Sprintf("v0.%d.0", v))
			}
			l.Write()
		}
		s := open(b, tree.Dir())
		b.Run(fmt.Sprint(modules), func(b *testing.B) {
			before := live()
			var facts ready.Facts
			for b.Loop() {
				var err error
				if facts, err = ready.Snapshot(b.Context(), s, ready.Scope{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(live()-before)/1e6, "MB-of-facts")
			runtime.KeepAlive(facts)
		})
	}
}

func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func open(b *testing.B, dir string) *layoutstore.Snapshot {
	b.Helper()
	tree, err := layoutstore.Open(b.Context(), layoutstore.Options{Sources: []string{dir}})
	if err != nil {
		b.Fatal(err)
	}
	return tree.Snapshot()
}
