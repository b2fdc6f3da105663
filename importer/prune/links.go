package prune

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// keepLinked finds repositories from which an outcome removes files that another repository needs. There are
// such files only if a symbolic link in the store leads from one of the repositories to the other. keepLinked
// records that nothing may be removed from these repositories, and reports whether there were any.
func (in *contents) keepLinked(o Outcome) (changed bool) {
	store, ok := in.store.(*directory)
	if !ok || !slices.ContainsFunc(o.Decisions, func(x Decision) bool { return !x.Keep }) {
		return false // a store in a bucket has no links
	}
	isLoose := func(r *Repository, d digest.Digest) bool {
		switch {
		case !r.isIn(0):
			return false
		case slices.Contains(r.Copies[d], 0):
			return true
		}
		// Copies does not list a damaged file, which the prune would remove, too.
		_, err := os.Lstat(filepath.Join(store.place(), filepath.FromSlash(path.Join(r.Path, names.BlobPath(d)))))
		return err == nil
	}
	users := map[digest.Digest][]*Repository{} // repositories that keep a manifest or blob as a loose file
	for _, r := range in.Repositories {
		for d := range o.Content[r.Path] {
			if isLoose(r, d) {
				users[d] = append(users[d], r)
			}
		}
	}
	resolved := map[string]string{}
	resolve := func(name string) string {
		if _, known := resolved[name]; !known {
			target, err := filepath.EvalSymlinks(filepath.Join(store.place(), filepath.FromSlash(name)))
			if err != nil {
				target = name
			}
			resolved[name] = target
		}
		return resolved[name]
	}
	same := func(a, b *Repository, file string) bool {
		return resolve(path.Join(a.Path, file)) == resolve(path.Join(b.Path, file))
	}
	for _, r := range in.Repositories {
		for _, d := range slices.Sorted(maps.Keys(in.sizes[r.Path])) {
			if r.Unclear != "" || o.Content[r.Path][d] || !isLoose(r, d) {
				continue
			}
			for _, user := range users[d] {
				if user != r && (same(r, user, names.BlobPath(d)) || same(r, user, ocispec.ImageIndexFile)) {
					r.Unclear = fmt.Sprintf("a link in the store makes it share files with %s, which needs some of them", user.Path)
					changed = true
					break
				}
			}
		}
	}
	return changed
}
