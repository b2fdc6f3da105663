// Package overlap finds directories that must not contain one another: the store, the drop
// directory, the sources and the cache. It compares the directories to which names lead, through
// links and mounts, not the names.
package overlap

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Role is what a directory or file is used for.
type Role string

// The roles, as messages name them.
const (
	Store  Role = "the store"
	Drop   Role = "the drop directory"
	Source Role = "the source"
	Bundle Role = "the bundle"
	Cache  Role = "the cache directory"
)

// Place is a path with a role, and the facts that say where it really is.
type Place struct {
	Role Role
	Path string // as the user gave it
	// resolved is the absolute path without links.
	resolved string
	// ids are the device and inode of resolved and of each directory above it, itself
	// first; zero for one that does not exist.
	ids []inode
	// spots are the positions of resolved, and of each mount below it, in their file systems. Two
	// mounts of one directory have the same position.
	spots []spot
}

// inode identifies a file or directory, whatever names it has.
type inode struct{ device, number uint64 }

// spot is a path in a file system, from its root and not from where it is mounted.
type spot struct{ device, path string }

// relation says how two places are related, and why.
type relation struct {
	kind   string // "", "same", "inside" (the first is in the second) or "around"
	reason string
}

// relate compares two resolved places.
func relate(a, b Place) relation {
	switch {
	case a.resolved == b.resolved:
		return relation{"same", "both are " + a.resolved}
	case isBelow(a.resolved, b.resolved):
		return relation{"inside", fmt.Sprintf("%s is in %s", a.resolved, b.resolved)}
	case isBelow(b.resolved, a.resolved):
		return relation{"around", fmt.Sprintf("%s is in %s", b.resolved, a.resolved)}
	}
	const link = "two names of one directory: a link or a mount leads there"
	var none inode
	switch {
	case len(a.ids) > 0 && len(b.ids) > 0 && a.ids[0] == b.ids[0] && a.ids[0] != none:
		return relation{"same", link}
	case len(b.ids) > 0 && b.ids[0] != none && slices.Contains(a.ids, b.ids[0]):
		return relation{"inside", link}
	case len(a.ids) > 0 && a.ids[0] != none && slices.Contains(b.ids, a.ids[0]):
		return relation{"around", link}
	}
	for _, x := range a.spots {
		for _, y := range b.spots {
			reason := fmt.Sprintf("a mount shows %s of one file system in both", x.path)
			switch {
			case x.device != y.device:
			case x.path == y.path:
				return relation{"same", reason}
			case isBelow(x.path, y.path):
				return relation{"inside", reason}
			case isBelow(y.path, x.path):
				return relation{"around", reason}
			}
		}
	}
	return relation{}
}

// isBelow reports whether the clean path name is in the directory dir.
func isBelow(name, dir string) bool {
	return strings.HasPrefix(name, strings.TrimSuffix(dir, string(filepath.Separator))+string(filepath.Separator))
}

// Error reports that two places overlap and must not.
type Error struct {
	a, b Place
	relation
}

func (e *Error) Error() string {
	how := map[string]string{
		"same":   "are the same",
		"inside": "overlap: the first is inside the second",
		"around": "overlap: the second is inside the first",
	}[e.kind]
	return fmt.Sprintf("%s %s and %s %s %s (%s)", e.a.Role, e.a.Path, e.b.Role, e.b.Path, how, e.reason)
}

// findOverlap finds two places that must not contain one another but do, or returns nil.
//
//   - The store, the drop directory and a source or bundle may not be the same nor contain one
//     another: dropped bundles are moved or removed, and served only once they are verified, and a
//     store may be read only through its journal.
//   - Two sources may: they are only read.
//   - The cache may be anywhere but in the drop directory, where it would be a bundle.
func findOverlap(places []Place) *Error {
	for i, a := range places {
		for _, b := range places[i+1:] {
			if r := relate(a, b); !isLegal(a.Role, b.Role, r.kind) {
				return &Error{a, b, r}
			}
		}
	}
	return nil
}

// isLegal reports whether places with these roles may have this relation.
func isLegal(a, b Role, kind string) bool {
	reading := func(r Role) bool { return r == Source || r == Bundle }
	switch {
	case kind == "", reading(a) && reading(b):
		return true
	case a == Cache:
		return b != Drop || kind == "around"
	case b == Cache:
		return a != Drop || kind == "inside"
	}
	return false
}

// overlapHint returns the advice on an overlap.
func overlapHint(e *Error) string {
	hint := "use separate directories, best on one file system: /srv/in and /srv/store"
	switch roles := []Role{e.a.Role, e.b.Role}; {
	case e.kind == "same" && slices.Contains(roles, Store) && slices.Contains(roles, Source):
		hint = "remove that source: the store is served after all sources"
	case slices.Contains(roles, Bundle):
		hint = "put the bundle outside of the store: what is in the store is served already"
	}
	return hint
}
