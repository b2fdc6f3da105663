package settings

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

// Tree configures how a tree is built from sources.
type Tree struct {
	Roots       []string
	sourceRoots map[string][]string
	indexes     []string

	NoEditionSplit bool // whether to put installer and deckhouse-cli below the edition
	CacheDir       string
	Settle         time.Duration
	S3             S3
	VerifyKey      *inventory.VerifyKey // public key for the signature of the sources; nil requires no signature
}

// AddFlags adds the flags about names, object storage and the cache directory.
func (t *Tree) AddFlags(f *pflag.FlagSet) {
	t.AddNameFlags(f)
	AddEditionFlag(f, &t.NoEditionSplit)
	t.S3.AddFlags(f)
	f.BoolVar(&t.S3.WriteIndex, "s3-write-index", false, "write the index of each archive in a bucket next to the archive; other servers then start faster, because they do not read the headers in the archive")
	f.StringVar(&t.CacheDir, "cache-dir", CacheDir(), "`directory` where archive indexes are cached, and with serve also the quarantine and the position of the scrub; empty means nowhere")
}

// AddNameFlags adds the flags that determine the names of repositories.
func (t *Tree) AddNameFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&t.Roots, "root-repository", []string{layoutstore.AutoRoot},
		"`path` below which the tree is served; auto reads it from the bundle, empty adds no path; repeatable")
	f.StringArrayVar(&t.indexes, "index-repository", discovery.Indexes(),
		"`path` below the root where discovery tags are synthesized; empty means none; repeatable")
}

// Options returns the options for a tree of these sources.
func (t *Tree) Options(sources []string) layoutstore.Options {
	return layoutstore.Options{Sources: sources, Roots: t.Roots, SourceRoots: t.sourceRoots, Indexes: t.indexes, NoEditionSplit: t.NoEditionSplit, CacheDir: t.CacheDir, Settle: t.Settle, VerifyKey: t.VerifyKey, Buckets: t.S3.Buckets(), WriteIndexes: t.S3.WriteIndex}
}
