// Package edition decides which layouts of a Deckhouse bundle belong beside an edition,
// and which below it.
//
// A root such as deckhouse/ee ends in an edition. Almost all layouts of a bundle belong below it.
// The installer and the d8 program are the same for all editions, so clusters and users request
// them one level higher: deckhouse/installer, deckhouse/deckhouse-cli/plugins/x. [Split] is the
// decision for one root. Server, list, push, comparison and pull all use it, so that they agree.
//
// Facts: deckhouse-cli, docs/mirror-bundle-layout.md of 2026-10-01, sections 8.2 and
// 8.6.
package edition

import (
	"fmt"
	"slices"
	"strings"
)

// Names returns the editions. A segment is an edition only if it equals one of them.
func Names() []string { return []string{"ce", "be", "se", "se-plus", "ee", "fe", "cse"} }

// IsName reports whether a segment of a path is an edition.
func IsName(segment string) bool { return slices.Contains(Names(), segment) }

// IsShared reports whether the layout at a path belongs to all editions: its first
// segment is installer or deckhouse-cli.
func IsShared(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return first == "installer" || first == "deckhouse-cli"
}

// Split says where the layouts of a bundle belong, for one root.
type Split struct {
	Root   string // of most layouts
	Parent string // of the shared layouts; equal to Root unless IsSplit
	Reason string // why there is a split, or why not
}

// Of splits a root below which a tree is served, or a path that a tree is pushed to. A
// root of one segment has no parent and is not split.
func Of(root string) Split {
	parent, last, below := cutLast(root)
	switch {
	case !IsName(last):
		return newUnsplit(root, fmt.Sprintf("%q does not end in an edition", root))
	case !below:
		return newUnsplit(root, fmt.Sprintf("the edition %s has no parent", last))
	}
	return newSplit(root, parent, last)
}

// OfSource splits the path of a source registry. Unlike [Of] it splits a path of one
// segment too: the parent is then empty, which means the registry itself.
func OfSource(path string) Split {
	parent, last, _ := cutLast(path)
	if !IsName(last) {
		return newUnsplit(path, fmt.Sprintf("%q does not end in an edition", path))
	}
	return newSplit(path, parent, last)
}

// Unsplit keeps all layouts below root, as tools did before 2026.
func Unsplit(root string) Split { return newUnsplit(root, "the edition split is turned off") }

func newUnsplit(root, reason string) Split { return Split{root, root, reason} }

func newSplit(root, parent, last string) Split {
	return Split{root, parent, fmt.Sprintf("%s is an edition: installer and deckhouse-cli belong beside it", last)}
}

// IsSplit reports whether shared layouts have another base than the others.
func (s Split) IsSplit() bool { return s.Parent != s.Root }

// Base returns the path below which the layout at a path belongs.
func (s Split) Base(path string) string {
	if IsShared(path) {
		return s.Parent
	}
	return s.Root
}

// Name returns the repository name of the layout at a path; "." is the root layout. It
// is empty if neither the layout nor the root has a name.
func (s Split) Name(path string) string { return joinName(s.Base(path), path) }

// Alias returns the name that older tools gave the layout at a path; empty if that is
// its [Split.Name].
func (s Split) Alias(path string) string {
	if !s.IsSplit() || !IsShared(path) {
		return ""
	}
	return joinName(s.Root, path)
}

// joinName returns the name below base of the layout at path.
func joinName(base, path string) string {
	switch {
	case path == ".":
		return base
	case base == "":
		return path
	}
	return base + "/" + path
}

// cutLast cuts a path at its last slash; below is false if it has no slash.
func cutLast(path string) (parent, last string, below bool) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:], true
	}
	return "", path, false
}
