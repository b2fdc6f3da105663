package layoutstore

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"unique"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// AutoRoot stands for the elected root: the root that most references in the indexes contain.
const AutoRoot = "auto"

// vote returns the root in a reference: the part of the repository before path, which is the path
// of the layout. ok is false if there is no such part.
func vote(ref, path string) (root string, ok bool) {
	if !strings.ContainsAny(ref, "/:@") { // the reference is only a tag
		return "", false
	}
	root = names.ParseReference(ref).Path
	if path != "." {
		if root, ok = strings.CutSuffix(root, "/"+path); !ok {
			return "", false
		}
	}
	return root, names.IsRepository(root)
}

// ballot has the number of references in an index.json that contain each root.
type ballot struct {
	votes map[string]int
	// weak is for unreliable references, and counts only if no layout has votes. Some of them have
	// lost the repository: see add. All others are in layouts that the editions share. They contain
	// the root or its parent, depending on the tool that wrote them.
	weak map[string]int
}

// add counts the root in the reference of a descriptor. path is the path of the layout.
func (b *ballot) add(a annotationsDoc, path string) {
	root, ok := vote(a.RefName, path)
	if !ok {
		return
	}
	counts := &b.votes
	// d8, which writes short tags, cuts some references at the first colon: host:5000/x becomes
	// host:<channel>. Such references are unreliable.
	if edition.IsShared(path) || a.ShortTag != "" && !strings.Contains(a.RefName, "/") {
		counts = &b.weak
	}
	if *counts == nil {
		*counts = map[string]int{}
	}
	(*counts)[unique.Make(root).Value()]++
}

// electRoot returns the root with the most votes. In a tie, the longest root wins, and then the
// first in byte order. If there are no votes, it returns "", which means that names have no root.
func electRoot(layouts []*indexedLayout) string {
	votes, weak := map[string]int{}, map[string]int{}
	for _, p := range layouts {
		for root, n := range p.index.ballot.votes {
			votes[root] += n
		}
		for root, n := range p.index.ballot.weak {
			weak[root] += n
		}
	}
	if len(votes) > 0 {
		return findWinner(votes)
	}
	return findWinner(weak)
}

func findWinner(votes map[string]int) string {
	var winner string
	for root, n := range votes {
		if cmp.Or(cmp.Compare(n, votes[winner]), cmp.Compare(len(root), len(winner)), strings.Compare(winner, root)) > 0 {
			winner = root
		}
	}
	return winner
}

// resolveRoots returns the roots without duplicates, with the elected root in place of AutoRoot.
func resolveRoots(roots []string, elected string) []string {
	var out []string
	for _, r := range roots {
		if r == AutoRoot {
			r = elected
		}
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// isCatalog reports whether an archive is the catalog, which contains the versions of all packages.
// The archive of a package takes precedence over the catalog, even if the package archive sorts
// first. Otherwise, the channel tags in the catalog would override the pinned version of a package.
func isCatalog(archive string) bool { return archive == "package-versions.tar" }

// CompareArchives orders the archives in a directory for merging and importing: the catalog first,
// the others by name. If several archives have the same tag, the last one wins.
func CompareArchives(a, b string) int {
	switch {
	case isCatalog(a) == isCatalog(b):
		return strings.Compare(a, b)
	case isCatalog(a):
		return -1
	}
	return 1
}

// catalogFirst returns the sources in a new order: each catalog comes before all other archives
// from its directory. The order of the other sources does not change.
func catalogFirst(sources []string) []string {
	archive := func(source string) string {
		if name, ok := volume.IsArchive(filepath.Base(source)); ok {
			return name
		}
		return ""
	}
	out := slices.Clone(sources)
	for i, s := range out {
		if !isCatalog(archive(s)) {
			continue
		}
		first := slices.IndexFunc(out[:i], func(o string) bool {
			return archive(o) != "" && !isCatalog(archive(o)) && directoryOf(o) == directoryOf(s)
		})
		if first >= 0 {
			out = slices.Insert(slices.Delete(out, i, i+1), first, s)
		}
	}
	return out
}

// directoryOf returns the absolute path of the directory that contains file. If file is in a bucket,
// it returns file without its last segment.
func directoryOf(file string) string {
	if bucket.IsPlace(file) {
		return file[:strings.LastIndex(file, "/")]
	}
	if absolute, err := filepath.Abs(file); err == nil {
		file = absolute
	}
	return filepath.Dir(file)
}
