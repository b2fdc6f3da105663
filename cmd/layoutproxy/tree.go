package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
)

// treeFlags say how sources become a tree.
type treeFlags struct {
	roots       []string
	sourceRoots map[string][]string
	indexes     []string
	// noEditionSplit names the installer and the d8 program below an edition.
	noEditionSplit bool
	cacheDir       string
	settle         time.Duration
	patience       time.Duration     // of requests, with the storage; 0 is without an end
	opened         func(fs.FileInfo) // see layoutstore.Options
}

func (t *treeFlags) flags(f *pflag.FlagSet) {
	t.nameFlags(f)
	editionFlag(f, &t.noEditionSplit)
	f.StringVar(&t.cacheDir, "cache-dir", cacheDir(), "`directory` for the indexes of archives and, with serve, the quarantine; empty means nowhere")
}

// nameFlags say what repositories are called.
func (t *treeFlags) nameFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&t.roots, "root-repository", []string{layoutstore.AutoRoot},
		"`path` below which the tree is served, repeatable; auto takes it from the bundle, empty means the bare paths")
	f.StringArrayVar(&t.indexes, "index-repository", discovery.Indexes(),
		"`path` below the root where discovery tags are synthesized, repeatable; empty means none")
}

// someSource asks for a source on the command line.
func someSource(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return exit.WithHint(layoutstore.ErrNoSource, "name the directory of the bundle: "+cmd.CommandPath()+" /media/bundle")
	}
	return nil
}

// cacheDir is where the user's programs keep what they can make anew, or empty.
func cacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "layoutproxy")
}

// open scans the sources.
func (t *treeFlags) open(ctx context.Context, sources []string) (*layoutstore.Tree, error) {
	tree, err := layoutstore.Open(ctx, t.options(sources))
	return tree, exit.SourceError(err)
}

// options of the tree of some sources.
func (t *treeFlags) options(sources []string) layoutstore.Options {
	return layoutstore.Options{Sources: sources, Roots: t.roots, SourceRoots: t.sourceRoots, Indexes: t.indexes, NoEditionSplit: t.noEditionSplit, CacheDir: t.cacheDir, Settle: t.settle, Patience: t.patience, Opened: t.opened}
}
