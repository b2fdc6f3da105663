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

// AutoRoot means the root that the references of descriptors elect.
const AutoRoot = "auto"

// vote returns the root in a reference of a descriptor in the layout at path: the part before
// the path. ok is false if the reference has no such part.
func vote(ref, path string) (root string, ok bool) {
	if !strings.ContainsAny(ref, "/:@") { // a bare tag
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

// ballot counts the references in the index of a layout, by root.
type ballot struct {
	votes map[string]int
	// weak counts only if no layout has votes. It is for layouts whose references contain the
	// root or its parent, depending on the tool that wrote them, and for references without a
	// repository.
	weak map[string]int
}

// add counts the root in the reference of a descriptor in the layout at path.
func (b *ballot) add(a annotationsDoc, path string) {
	root, ok := vote(a.RefName, path)
	if !ok {
		return
	}
	counts := &b.votes
	// A tool that cuts a reference at its first colon leaves host:<channel>. The short tag
	// shows that the tool is d8.
	if edition.IsShared(path) || a.ShortTag != "" && !strings.Contains(a.RefName, "/") {
		counts = &b.weak
	}
	if *counts == nil {
		*counts = map[string]int{}
	}
	(*counts)[unique.Make(root).Value()]++
}

// electRoot returns the root with the most votes. In a tie the longest root wins, then the
// first in byte order. Without votes it returns "", which means no root.
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

// resolveRoots replaces AutoRoot by the elected root, and removes duplicates.
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

// isCatalog reports whether an archive is the catalog, which lists the versions of all packages.
// A package's own archive wins over it, whatever the order of their names: otherwise the
// catalog's channels would override the pin of a package.
func isCatalog(archive string) bool { return archive == "package-versions.tar" }

// CompareArchives orders the archives of one directory by name, for merging and importing:
// a later one wins a tag.
func CompareArchives(a, b string) int {
	switch {
	case isCatalog(a) == isCatalog(b):
		return strings.Compare(a, b)
	case isCatalog(a):
		return -1
	}
	return 1
}

// catalogFirst moves each catalog before the first other archive of its directory. All other
// sources stay in their order.
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

// directoryOf returns the absolute directory of a file, or its place in a bucket.
func directoryOf(file string) string {
	if bucket.IsPlace(file) {
		return file[:strings.LastIndex(file, "/")]
	}
	if absolute, err := filepath.Abs(file); err == nil {
		file = absolute
	}
	return filepath.Dir(file)
}
