package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
)

// treeFlags say how sources become a tree.
type treeFlags struct {
	roots   []string
	indexes []string
}

func (t *treeFlags) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&t.roots, "root-repository", []string{layoutstore.AutoRoot},
		"`path` below which the tree is served, repeatable; auto takes it from the bundle, empty means the bare paths")
	f.StringArrayVar(&t.indexes, "index-repository", discovery.Indexes(),
		"`path` below the root where discovery tags are synthesized, repeatable; empty means none")
}

// open scans the sources.
func (t *treeFlags) open(ctx context.Context, sources []string) (*layoutstore.Tree, error) {
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: sources, Roots: t.roots, Indexes: t.indexes})
	return tree, sourceError(err)
}
