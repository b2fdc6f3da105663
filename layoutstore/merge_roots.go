package layoutstore

import (
	"path/filepath"
	"slices"
	"strings"
	"unique"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// AutoRoot stands for the root that the descriptors themselves name.
const AutoRoot = "auto"

// vote returns the root in the reference ref, found in the layout at path: the part before the
// layout's path.
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

// ballot counts the references of one or more layouts by the root that each names.
type ballot struct {
	votes tally
	// weak counts only without votes. It is for layouts that name the root or its parent,
	// depending on the tool that wrote them, and for references without a repository.
	weak tally
}

// tally counts the votes for each of a few roots.
type tally []votes

type votes struct {
	root string
	n    int
}

func (t *tally) add(root string, n int) {
	i := slices.IndexFunc(*t, func(v votes) bool { return v.root == root })
	if i < 0 {
		*t = append(*t, votes{unique.Make(root).Value(), n})
		return
	}
	(*t)[i].n += n
}

// add adds what the descriptor of a layout at path names.
func (b *ballot) add(a annotationsDoc, path string) {
	root, ok := vote(a.RefName, path)
	if !ok {
		return
	}
	count := &b.votes
	// A tool that cuts a reference at its first colon leaves host:<channel>. The short tag
	// shows that d8 wrote it.
	if edition.IsShared(path) || a.ShortTag != "" && !strings.Contains(a.RefName, "/") {
		count = &b.weak
	}
	count.add(root, 1)
}

// electRoot returns the root with the most votes; if several have the most, the longest, then
// the first in byte order. Without votes it returns "", which means no root.
func electRoot(parts []*indexedLayout) string {
	votes, weak := map[string]int{}, map[string]int{}
	for _, p := range parts {
		for _, v := range p.index.ballot.votes {
			votes[v.root] += v.n
		}
		for _, v := range p.index.ballot.weak {
			weak[v.root] += v.n
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
		best := votes[winner]
		switch {
		case n > best,
			n == best && len(root) > len(winner),
			n == best && len(root) == len(winner) && root < winner:
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

// isCatalog reports whether an archive lists the versions of all packages. A package's own
// archive wins over it, whatever the order of their names: otherwise the catalog's
// channels would override the pin of a package.
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

// catalogFirst moves the catalog of packages in front of the first archive beside it.
// All other sources stay in their order.
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

// directoryOf returns the directory that a file is in, however its path is written.
func directoryOf(file string) string {
	if bucket.IsPlace(file) {
		return file[:strings.LastIndex(file, "/")]
	}
	if absolute, err := filepath.Abs(file); err == nil {
		file = absolute
	}
	return filepath.Dir(filepath.Clean(file))
}
