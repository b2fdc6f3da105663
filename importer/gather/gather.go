// Package gather makes an inventory of existing content. [Sources] lists the content of sources, and
// [Registry] the content below a path in a registry.
//
// Missing and damaged content cannot be listed. It is reported as problems.
package gather

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Options configure how sources are read.
type Options struct {
	CacheDir string // directory that caches archive indexes; if it is "", they are not cached

	Checksums bool // whether to compute the checksum of each file

	// Buckets opens places in buckets. It may be nil if no source is in a bucket.
	Buckets func(bucket.Place) bucket.Reader
}

// Sources replaces what b contains with the content of sources. If all sources are in one directory, or at
// one place in a bucket, it also adds their files, but no files of a store. It ignores an inventory beside
// the sources. Errors come from layoutstore.Open, the file system and the context.
func Sources(ctx context.Context, sources []string, o Options, b *inventory.Builder) ([]problem.Problem, error) {
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: sources, Indexes: []string{}, CacheDir: o.CacheDir, IgnoreInventory: true, Buckets: o.Buckets})
	if err != nil {
		return nil, err
	}
	var problems []problem.Problem
	if err := tree.ReadWith(ctx, func(s *layoutstore.Snapshot) (err error) {
		*b = inventory.Builder{}
		problems, err = list(ctx, s, b)
		return err
	}); err != nil {
		return nil, err
	}
	if err := tree.SaveCaches(ctx); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(sources, bucket.IsPlace) {
		return problems, addObjects(ctx, sources, tree.Snapshot(), o, b)
	}
	return problems, addFiles(ctx, sources, tree.Snapshot(), o.Checksums, b)
}

// list adds the content of a snapshot to an inventory, and returns the problems that are failures. It does
// not count a root layout without a name as a failure.
func list(ctx context.Context, s *layoutstore.Snapshot, b *inventory.Builder) (failures []problem.Problem, err error) {
	if err := s.Check(ctx, runtime.GOMAXPROCS(0)); err != nil {
		return nil, err
	}
	if err := s.Inventory(ctx, b, s.Paths()); err != nil {
		return nil, err
	}
	problems, err := s.Problems(ctx)
	for _, p := range problems {
		if p.IsFailure() && !p.IsUnnamedRoot() {
			failures = append(failures, p)
		}
	}
	return failures, err
}

// Directory returns the one directory that each source either is or is in. ok is false if the sources are in
// several directories, in a store or in a bucket.
func Directory(sources []string) (dir string, ok bool) {
	for n, source := range sources {
		if bucket.IsPlace(source) {
			return "", false
		}
		at := filepath.Clean(source)
		if info, err := os.Stat(source); err != nil || !info.IsDir() {
			at = filepath.Dir(at)
		}
		if n > 0 && at != dir {
			return "", false
		}
		dir = at
	}
	_, err := os.Stat(filepath.Join(dir, journal.StateFile))
	return dir, errors.Is(err, fs.ErrNotExist)
}

// addFiles adds the files of the sources to an inventory: archives, chunks and their checksum files. If the
// directory itself is a source, addFiles also adds bundle.ReleasesFile, and index.json and oci-layout of each
// layout in the tree.
func addFiles(ctx context.Context, sources []string, s *layoutstore.Snapshot, checksums bool, b *inventory.Builder) error {
	dir, ok := Directory(sources)
	if !ok {
		return nil
	}
	files, err := volume.OpenFiles(dir)
	if err != nil {
		return err
	}
	defer files.Close()
	all, archives := wantedArchives(sources)
	var names []string
	for _, name := range files.Names() {
		if archive, ok := volume.IsArchive(name); ok && !strings.HasPrefix(name, ".") && (all || archives[archive]) {
			names = append(names, name, bundle.SumName(name))
		}
	}
	if all {
		names = append(names, bundle.ReleasesFile)
		for _, at := range treePaths(s, func(where string) (string, bool) {
			rel, err := filepath.Rel(dir, where)
			return filepath.ToSlash(rel), err == nil && filepath.IsLocal(rel)
		}) {
			names = append(names, bundle.LayoutFiles(at)...)
		}
	}
	for _, name := range names {
		at, ok := files.At(name)
		if !ok {
			continue
		}
		f, ok, err := bundle.ListFile(ctx, filepath.Join(dir, at), name, checksums)
		if err != nil {
			return err
		}
		if ok {
			b.AddFile(f)
		}
	}
	return nil
}

// wantedArchives returns the names of the archives among the sources. If one of the sources is a directory,
// all is true instead.
func wantedArchives(sources []string) (all bool, archives map[string]bool) {
	archives = map[string]bool{}
	for _, source := range sources {
		if info, err := os.Stat(source); err == nil && info.IsDir() {
			return true, nil
		}
		archive, _ := volume.IsArchive(filepath.Base(source))
		archives[archive] = true
	}
	return false, archives
}

// treePaths returns the paths of the layouts that are not in archives. relative turns the location of a
// layout into a path below the sources' directory or place. ok is false for a layout outside of it.
func treePaths(s *layoutstore.Snapshot, relative func(where string) (rel string, ok bool)) (paths []string) {
	for _, at := range s.Paths() {
		repo, err := s.At(at)
		if err != nil {
			continue
		}
		for _, l := range repo.Layouts() {
			where, entry := l.Where()
			if rel, ok := relative(where); ok && entry == "" {
				paths = append(paths, path.Clean(rel))
			}
		}
	}
	return paths
}
