// Package importertest is for tests of package importer and its subpackages. It writes bundles to import, and
// reads the content of a store after an import.
package importertest

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// OldBundle writes a bundle as archives, and returns its directory.
func OldBundle(t *testing.T) string {
	tree := layouttest.New(t, t.TempDir())
	root := tree.Layout(".")
	root.Tag(root.Image(layouttest.Image{Name: "platform", Docker: true, LayerSizes: []int64{3000, 100}}), "v1.0.0")
	root.Write()
	module := tree.Layout("modules/console")
	one := module.Image(layouttest.Image{Name: "console", LayerSizes: []int64{5000}})
	module.Tag(one, "v1.0.0")
	module.Tag(one, "stable")
	module.Write()
	tree.Layout("modules/empty").Write()
	return Pack(t, tree)
}

// NewBundle writes a bundle to import after [OldBundle], and returns its directory. It replaces a tag, shares
// blobs with the old bundle, and adds repositories. One of these repositories has an image index, and one has
// a referrer.
func NewBundle(t *testing.T) string {
	tree := layouttest.New(t, t.TempDir())
	module := tree.Layout("modules/console")
	two := module.Image(layouttest.Image{Name: "console", LayerSizes: []int64{5000, 70_000}})
	module.Tag(two, "v1.1.0")
	module.Tag(two, "stable")
	module.Write()
	release := tree.Layout("modules/console/release")
	release.Tag(release.Image(layouttest.Image{Name: "console", LayerSizes: []int64{5000}}), "stable")
	release.Tag(release.Image(layouttest.Image{Name: "sig", ArtifactType: "application/x-sig", Layers: [][]byte{[]byte("sig")}, Subject: &two}), "sha256-x.sig")
	release.Write()
	for _, name := range []string{"one", "two", "three", "four", "five", "six"} {
		extra := tree.Layout("modules/console/extra/" + name)
		extra.Tag(extra.Image(layouttest.Image{Name: name, LayerSizes: []int64{300, 700}}), name)
		extra.Write()
	}
	plugin := tree.Layout("deckhouse-cli/plugins/one")
	plugin.Tag(plugin.Index(layouttest.Index{Children: Platforms(plugin)}), "v1")
	plugin.Write()
	return Pack(t, tree)
}

// Platforms writes images for two architectures into a layout.
func Platforms(l *layouttest.Layout) []ocispec.Descriptor {
	var all []ocispec.Descriptor
	for _, arch := range []string{"amd64", "arm64"} {
		all = append(all, l.Image(layouttest.Image{Name: arch, LayerSizes: []int64{200}, Platform: &ocispec.Platform{OS: "linux", Architecture: arch}}))
	}
	return all
}

// Scratch returns a new directory, in memory if possible. On disk, a test with thousands of syncs would take
// minutes.
func Scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "layoutproxy")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Pack writes a tree as archives into a new directory, and returns the directory.
func Pack(t *testing.T, tree *layouttest.Tree) string {
	dir := t.TempDir()
	tree.Bundle(dir)
	return dir
}

// Importer is an importer that calls a function of the test before each step.
type Importer struct {
	*importer.Importer
	options importer.Options
	before  func(op, path string) error
}

// New returns an importer for a store. It has one job, so that its steps are always in the same order.
func New(t *testing.T, store string) *Importer {
	t.Helper()
	i, err := NewWith(importer.Options{Store: store, Jobs: 1})
	Must(t, err)
	return i
}

// NewWith returns an importer with any options except Before.
func NewWith(o importer.Options) (*Importer, error) {
	i := &Importer{options: o}
	i.options.Before = func(op, path string) error {
		if i.before == nil {
			return nil
		}
		return i.before(op, path)
	}
	var err error
	i.Importer, err = importer.New(i.options)
	return i, err
}

// Before lets the importer call f before each change of the store and of the drop directory.
func (i *Importer) Before(f func(op, path string) error) { i.before = f }

// NewDrop returns a Drop that has the same importer options as i.
func (i *Importer) NewDrop(o drop.Options) (*drop.Drop, error) { return drop.New(i.options, o) }

// Publish publishes a journal without importing a bundle.
func (i *Importer) Publish(ctx context.Context, j *journal.Journal) error {
	s, err := publish.Open(ctx, publish.Options{Dir: i.options.Store, Before: i.options.Before})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Publish(ctx, j)
}

// Imported imports bundles into a store.
func Imported(t *testing.T, store string, bundles ...string) importer.Report {
	t.Helper()
	return imported(t, New(t, store), bundles)
}

func imported(t *testing.T, i *Importer, bundles []string) importer.Report {
	t.Helper()
	report, err := i.Import(t.Context(), bundles...)
	if err != nil {
		t.Fatalf("importing %v: %v", bundles, err)
	}
	return report
}

// Content is the content of a tree. It maps each PATH:TAG to a digest, and each PATH to the empty string.
type Content map[string]string

// ContentOf returns the content of a source. It verifies all manifests and blobs, as [Prove] does.
func ContentOf(ctx context.Context, source string) (Content, error) {
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: []string{source}, Indexes: []string{}})
	if err != nil {
		return nil, err
	}
	return ContentOfSnapshot(ctx, tree.Snapshot())
}

// ContentOfSnapshot is like [ContentOf], but for a snapshot.
func ContentOfSnapshot(ctx context.Context, s *layoutstore.Snapshot) (Content, error) {
	problems, err := s.Problems(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range problems {
		if p.Path != "" && p.Kind != layoutstore.Conflict && p.Kind != layoutstore.IllegalName {
			return nil, fmt.Errorf("problem: %s", p)
		}
	}
	for _, at := range s.Paths() {
		repo, err := s.At(at)
		if err == nil {
			err = Prove(ctx, repo)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
	}
	return TagsOf(s), nil
}

// Prove reads all manifests and blobs in the graphs of a repository's indexes. It returns an error if one of
// them is missing or damaged.
func Prove(ctx context.Context, repo *layoutstore.Repository) error {
	graph, err := repo.Graph(ctx)
	if err != nil {
		return err
	}
	for _, m := range graph.Manifests {
		if m.Unavailable != nil {
			return fmt.Errorf("manifest %s: %w", m.Digest, m.Unavailable)
		}
	}
	for _, b := range graph.Blobs {
		blob, err := repo.Blob(ctx, b.Digest)
		if err != nil {
			return err
		}
		f, err := blob.Open(ctx)
		if err != nil {
			return err
		}
		got, err := b.Digest.Algorithm().FromReader(f)
		if f.Close(); err == nil && got != b.Digest {
			err = fmt.Errorf("blob %s: checksum mismatch: content is %s", b.Digest, got)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// MustContent is like [ContentOf], but fails the test on an error.
func MustContent(t *testing.T, source string) Content {
	t.Helper()
	c, err := ContentOf(t.Context(), source)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return c
}

// Over returns the content of a tree after an import: c is its content before, and other the
// content of the bundle.
func (c Content) Over(other Content) Content {
	both := maps.Clone(c)
	maps.Copy(both, other)
	return both
}

// Same fails unless two trees have the same content.
func Same(t *testing.T, what string, got, want Content) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// Files returns the paths below a directory, with the size of each file; a directory has -1.
func Files(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && !e.IsDir() {
			all[p[len(dir):]] = info.Size()
		} else {
			all[p[len(dir):]] = -1
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Unfinished returns the files that an unfinished import has left in a store.
func Unfinished(t *testing.T, store string) []string {
	t.Helper()
	var all []string
	for name := range Files(t, filepath.Join(store, ".layoutproxy")) {
		if name != "" && name != "/lock" && name != "/store.json" && name != "/reserve" {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// Copied copies a store to a new directory, and returns the directory.
func Copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(Scratch(t), "store")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}
