package layoutstore_test

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// openCounting opens a tree with an image of n layers. opened counts the files that are opened.
func openCounting(t testing.TB, n int) (tree *layoutstore.Tree, layers []digest.Digest, opened *atomic.Int64) {
	t.Helper()
	built := layouttest.New(t, t.TempDir())
	l := built.Layout("app")
	bodies := make([][]byte, n)
	for i := range bodies {
		bodies[i] = fmt.Appendf(nil, "layer %d", i)
		layers = append(layers, digest.FromBytes(bodies[i]))
	}
	l.Tag(l.Image(layouttest.Image{Layers: bodies}), "v1")
	l.Write()
	opened = &atomic.Int64{}
	options := layoutstore.Options{Sources: []string{built.Dir()}, Roots: []string{""}, Indexes: []string{}, Opened: func(fs.FileInfo) { opened.Add(1) }}
	tree, err := layoutstore.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Snapshot().Check(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	return tree, layers, opened
}

// refuse quarantines a layer, as a scrub does, and returns the problem.
func refuse(t testing.TB, tree *layoutstore.Tree, d digest.Digest) layoutstore.Problem {
	t.Helper()
	repo, err := tree.Snapshot().At("app")
	if err != nil {
		t.Fatal(err)
	}
	layout := repo.Layouts()[0]
	stamp, err := layout.Stamp(t.Context(), d)
	if err != nil {
		t.Fatalf("Stamp(%s): got the error %v, want none", d, err)
	}
	if news, err := repo.Quarantine(t.Context(), layout, d, stamp, "rotten"); err != nil || !news {
		t.Fatalf("Quarantine(%s): want news and no error; error: %v", d, err)
	}
	p, ok, err := tree.Snapshot().QuarantineProblem(t.Context(), "app", layout, d)
	if err != nil || !ok {
		t.Fatalf("QuarantineProblem(%s): got no problem, want one; error: %v", d, err)
	}
	return p
}

// A scrub that finds a damaged blob opens no files of other quarantined blobs. Nor does a request
// for a quarantined blob. Still, its problem is the same as in the complete list.
func TestQuarantineReadsOnlyOneCopy(t *testing.T) {
	tree, layers, opened := openCounting(t, 50)
	repo, err := tree.Snapshot().At("app")
	if err != nil {
		t.Fatal(err)
	}
	var costs []int64
	for _, d := range layers {
		before := opened.Load()
		p := refuse(t, tree, d)
		if _, err := repo.Blob(t.Context(), d); err == nil {
			t.Fatalf("Blob(%s), which is in quarantine: got no error, want one", d)
		}
		costs = append(costs, opened.Load()-before)
		if all := problemsOf(tree.Snapshot()); !slices.ContainsFunc(all, p.Equal) {
			t.Fatalf("want the problem %v in the list of all problems, got %v", p, all)
		}
	}
	if slices.Max(costs) != costs[0] || costs[0] == 0 {
		t.Errorf("opened files per finding: got %v, want no number above the first, which is not 0", costs)
	}
}

// Listing the problems reads the state of only the first 1,000 quarantined copies.
func TestQuarantineListsAtMost1000Problems(t *testing.T) {
	tree, layers, opened := openCounting(t, 1100)
	for _, d := range layers {
		refuse(t, tree, d)
	}
	before := opened.Load()
	all := problemsOf(tree.Snapshot())
	if n := opened.Load() - before; n > 1001 {
		t.Errorf("listing the problems opened %d files, want at most 1001", n)
	}
	more := func(p layoutstore.Problem) bool { return strings.Contains(p.Reason, "more than 1000") }
	if len(all) != 1001 || !slices.ContainsFunc(all, more) {
		t.Errorf("got %d problems, want 1,000 and one that says that there are more", len(all))
	}
	var listed []digest.Digest
	for _, p := range all {
		if !more(p) {
			listed = append(listed, p.Digest)
		}
	}
	slices.Sort(layers)
	if !slices.Equal(listed, layers[:1000]) {
		t.Error("list of problems: got different digests, want the first 1,000 in order")
	}
}

// BenchmarkQuarantine quarantines blobs. Four times as many blobs must take at most 4.4 times as
// long.
func BenchmarkQuarantine(b *testing.B) {
	for _, n := range []int{1000, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				tree, layers, _ := openCounting(b, n)
				b.StartTimer()
				for _, d := range layers {
					refuse(b, tree, d)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/finding")
		})
	}
}
