package layoutstore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// wide builds a tree of 2,000 layouts with 20 tags each, and returns its directory.
func wide(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	tree := layouttest.New(b, dir)
	for i := range 2000 {
		l := tree.Layout(fmt.Sprintf("modules/m%04d", i))
		for j := range 20 {
			l.Tag(l.Image(layouttest.Image{Name: fmt.Sprint(i, j), Layers: [][]byte{{byte(i), byte(j)}}}), fmt.Sprintf("v1.%d", j))
		}
		l.Write()
	}
	return dir
}

func openWide(b *testing.B, dir string) *layoutstore.Tree {
	b.Helper()
	tree, err := layoutstore.Open(context.Background(), layoutstore.Options{Sources: []string{dir}})
	if err != nil {
		b.Fatal(err)
	}
	if n := tree.Snapshot().TagCount(); n != 42_000 {
		b.Fatalf("the tree has %d tags, want 42000", n)
	}
	return tree
}

func BenchmarkManyLayouts(b *testing.B) {
	dir := wide(b)
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			openWide(b, dir)
		}
	})
	b.Run("refresh", func(b *testing.B) {
		b.ReportAllocs()
		tree := openWide(b, dir)
		for b.Loop() {
			if c, err := tree.Refresh(context.Background()); err != nil || c.Changed {
				b.Fatal(c, err)
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			s := openWide(b, dir).Snapshot()
			b.StartTimer()
			if err := s.Check(context.Background(), 1); err != nil || len(problemsOf(s)) > 0 {
				b.Fatal(problemsOf(s), err)
			}
		}
	})
}
