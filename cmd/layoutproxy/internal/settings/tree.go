package settings

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

// Tree configures how sources become a tree.
type Tree struct {
	Roots       []string
	sourceRoots map[string][]string
	indexes     []string

	NoEditionSplit bool // keep installer and deckhouse-cli below an edition
	CacheDir       string
	Settle         time.Duration
	S3             S3
	VerifyKey      *inventory.VerifyKey // must have signed the sources; nil requires no signature
}

// AddFlags adds the flags to a set.
func (t *Tree) AddFlags(f *pflag.FlagSet) {
	t.AddNameFlags(f)
	AddEditionFlag(f, &t.NoEditionSplit)
	t.S3.AddFlags(f)
	f.BoolVar(&t.S3.WriteIndex, "s3-write-index", false, "write the index of each archive in a bucket beside the archive, so that other readers need not read its headers")
	f.StringVar(&t.CacheDir, "cache-dir", CacheDir(), "`directory` that keeps archive indexes and, with serve, the quarantine; empty means nowhere")
}

// AddNameFlags adds the flags that decide the names of repositories.
func (t *Tree) AddNameFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&t.Roots, "root-repository", []string{layoutstore.AutoRoot},
		"`path` below which the tree is served, repeatable; auto reads it from the bundle, empty means the bare paths")
	f.StringArrayVar(&t.indexes, "index-repository", discovery.Indexes(),
		"`path` below the root where discovery tags are synthesized, repeatable; empty means none")
}

// Options returns the options of the tree of some sources.
func (t *Tree) Options(sources []string) layoutstore.Options {
	return layoutstore.Options{Sources: sources, Roots: t.Roots, SourceRoots: t.sourceRoots, Indexes: t.indexes, NoEditionSplit: t.NoEditionSplit, CacheDir: t.CacheDir, Settle: t.Settle, VerifyKey: t.VerifyKey, Buckets: t.S3.Buckets(), WriteIndexes: t.S3.WriteIndex}
}
