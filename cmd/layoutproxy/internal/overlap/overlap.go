// Package overlap finds directories that overlap but must not: the store, the drop directory, the
// sources and the cache. It follows links and mounts, and compares the directories that the names
// lead to.
package overlap

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Role is what a directory or file is used for. Messages contain it.
type Role string

// The roles of directories and files.
const (
	Store  Role = "the store"
	Drop   Role = "the drop directory"
	Source Role = "the source"
	Bundle Role = "the bundle"
	Cache  Role = "the cache directory"
)

// Place is a directory or file with its role. The other fields identify its real location, after
// following links and mounts.
type Place struct {
	Role Role
	Path string // as the user wrote it

	// resolved is the absolute path, after following links.
	resolved string
	// ids are the device and inode numbers of resolved, of the directory above it, and so on. They
	// are zero for a directory that does not exist.
	ids []inode
	// spots are the locations of resolved, and of each mount below it, in their file systems. Two
	// mounts of the same directory have the same spot.
	spots []spot
}

// inode identifies a file or directory by device and inode number, whatever its name.
type inode struct{ device, number uint64 }

// spot is a path that begins at the root of a file system, wherever that file system is mounted.
type spot struct{ device, path string }

// relation is how two places overlap, and why.
type relation struct {
	// kind is "same", "inside" if the first place is in the second, "around" if the second is in
	// the first, or "" if they do not overlap.
	kind   string
	reason string
}

// relate returns how two resolved places overlap.
func relate(a, b Place) relation {
	switch {
	case a.resolved == b.resolved:
		return relation{"same", "both are " + a.resolved}
	case isBelow(a.resolved, b.resolved):
		return relation{"inside", fmt.Sprintf("%s is in %s", a.resolved, b.resolved)}
	case isBelow(b.resolved, a.resolved):
		return relation{"around", fmt.Sprintf("%s is in %s", b.resolved, a.resolved)}
	}
	const link = "both names lead to the same directory, through a link or a mount"
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
			reason := fmt.Sprintf("through a mount, both contain %s of the same file system", x.path)
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

// isBelow reports whether name is a path in the directory dir. Both must be clean paths.
func isBelow(name, dir string) bool {
	return strings.HasPrefix(name, strings.TrimSuffix(dir, string(filepath.Separator))+string(filepath.Separator))
}

// Error is the error for two places that overlap but must not.
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

// findOverlap returns an error for two places that overlap but must not, or nil.
//
//   - The store, the drop directory and a source or bundle must not overlap. Dropped bundles are moved
//     or removed, and may be served only after they are verified. A store may be read only through
//     its journal.
//   - Sources may overlap, because they are only read.
//   - The cache must not be in the drop directory, where it would be taken for a bundle.
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

// isLegal reports whether places with roles a and b may overlap in the way that kind describes.
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

func overlapHint(e *Error) string {
	hint := "use separate directories, if possible on one file system, such as /srv/in and /srv/store"
	switch roles := []Role{e.a.Role, e.b.Role}; {
	case e.kind == "same" && slices.Contains(roles, Store) && slices.Contains(roles, Source):
		hint = "remove that source: layoutproxy serves the store anyway"
	case e.kind != "same" && slices.Contains(roles, Bundle):
		hint = "move the bundle out of the store, or the store out of the bundle; what was imported into the store is served anyway"
	}
	return hint
}
