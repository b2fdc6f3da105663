package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
)

// treeFlags say how sources become a tree.
type treeFlags struct {
	roots    []string
	indexes  []string
	cacheDir string
	settle   time.Duration
}

func (t *treeFlags) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&t.roots, "root-repository", []string{layoutstore.AutoRoot},
		"`path` below which the tree is served, repeatable; auto takes it from the bundle, empty means the bare paths")
	f.StringArrayVar(&t.indexes, "index-repository", discovery.Indexes(),
		"`path` below the root where discovery tags are synthesized, repeatable; empty means none")
	cache := ""
	if dir, err := os.UserCacheDir(); err == nil {
		cache = filepath.Join(dir, "layoutproxy")
	}
	f.StringVar(&t.cacheDir, "cache-dir", cache, "`directory` where the indexes of archives are kept; empty means nowhere")
}

// open scans the sources.
func (t *treeFlags) open(ctx context.Context, sources []string) (*layoutstore.Tree, error) {
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: sources, Roots: t.roots, Indexes: t.indexes, CacheDir: t.cacheDir, Settle: t.settle})
	return tree, sourceError(err)
}
