package layoutstore

import (
	"slices"
	"strings"
)

// AutoRoot stands for the root that the descriptors themselves name.
const AutoRoot = "auto"

// vote is the root that the reference ref, found in the layout at path, speaks
// for: what stands before the layout's path in it.
func vote(ref, path string) (root string, ok bool) {
	if !strings.ContainsAny(ref, "/:@") { // a bare tag
		return "", false
	}
	root = ParseReference(ref).Path
	if path != "." {
		if root, ok = strings.CutSuffix(root, "/"+path); !ok {
			return "", false
		}
	}
	return root, ValidName(root)
}

// elect is the root with the most votes; of several the longest, then the first
// in byte order. Without a vote it is empty: no root.
func elect(parts []*part) string {
	votes := map[string]int{}
	for _, p := range parts {
		for root, n := range p.index.votes {
			votes[root] += n
		}
	}
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

// resolveRoots puts the elected root in the place of AutoRoot, each root once.
func resolveRoots(roots []string, parts []*part) []string {
	var out []string
	for _, r := range roots {
		if r == AutoRoot {
			r = elect(parts)
		}
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// underRoot is the name below root of the repository at path, or "" for the root
// layout where there is no root to name it.
func underRoot(root, path string) string {
	switch {
	case path == ".":
		return root
	case root == "":
		return path
	}
	return root + "/" + path
}
