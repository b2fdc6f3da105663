// Package edition decides for each layout of a Deckhouse bundle whether it belongs below the
// edition or beside it.
//
// A root such as deckhouse/ee ends in the name of an edition. Most layouts belong below that root.
// The installer and the d8 program are the same for all editions, so clusters and users request
// them one level higher: as deckhouse/installer or deckhouse/deckhouse-cli/plugins/x. A [Split] is
// the decision for one root. Server, list, push, comparison and pull all use it, so they agree.
//
// Source: deckhouse-cli, docs/mirror-bundle-layout.md of 2026-10-01, sections 8.2 and 8.6.
package edition

import (
	"fmt"
	"slices"
	"strings"
)

// Names returns the names of all editions.
func Names() []string { return []string{"ce", "be", "se", "se-plus", "ee", "fe", "cse"} }

// IsName reports whether a path segment is exactly the name of an edition.
func IsName(segment string) bool { return slices.Contains(Names(), segment) }

// IsShared reports whether the layout at a path belongs to all editions. The first segment of such
// a path is installer or deckhouse-cli.
func IsShared(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return first == "installer" || first == "deckhouse-cli"
}

// Split determines where the layouts of a bundle belong, for one root.
type Split struct {
	// Root is the path below which most layouts belong.
	Root string
	// Parent is the path below which the shared layouts belong. It equals Root if there is no split.
	Parent string
	// Reason explains why there is a split, or why there is none.
	Reason string
}

// Of decides whether to split a root. A root is the path below which a tree is served or to which
// it is pushed. A root with only one segment is not split, because it has no parent.
func Of(root string) Split {
	parent, last, below := cutLast(root)
	switch {
	case !IsName(last):
		return newUnsplit(root, fmt.Sprintf("%q does not end in an edition", root))
	case !below:
		return newUnsplit(root, fmt.Sprintf("the root %s is only an edition, without a path above it", last))
	}
	return newSplit(root, parent, last)
}

// OfSource decides whether to split the path of a source registry. Unlike [Of], it also splits a
// path with only one segment. Then the parent is empty, which stands for the registry itself.
func OfSource(path string) Split {
	parent, last, _ := cutLast(path)
	if !IsName(last) {
		return newUnsplit(path, fmt.Sprintf("%q does not end in an edition", path))
	}
	return newSplit(path, parent, last)
}

// Unsplit returns a Split that keeps all layouts below root, as tools did before 2026.
func Unsplit(root string) Split { return newUnsplit(root, "the edition split is turned off") }

func newUnsplit(root, reason string) Split { return Split{root, root, reason} }

func newSplit(root, parent, last string) Split {
	return Split{root, parent, fmt.Sprintf("%s is an edition: installer and deckhouse-cli belong beside it", last)}
}

// IsSplit reports whether shared layouts belong in a different place than the other layouts.
func (s Split) IsSplit() bool { return s.Parent != s.Root }

// Base returns the path below which the layout at path belongs: the root or its parent.
func (s Split) Base(path string) string {
	if IsShared(path) {
		return s.Parent
	}
	return s.Root
}

// Name returns the repository name of the layout at path. The path "." is the root layout. Its name
// is empty if the root is empty.
func (s Split) Name(path string) string { return joinName(s.Base(path), path) }

// Alias returns the name that older tools gave to the layout at path. It is empty if older tools
// used the same name as [Split.Name].
func (s Split) Alias(path string) string {
	if !s.IsSplit() || !IsShared(path) {
		return ""
	}
	return joinName(s.Root, path)
}

// joinName returns the repository name of the layout at path below base.
func joinName(base, path string) string {
	switch {
	case path == ".":
		return base
	case base == "":
		return path
	}
	return base + "/" + path
}

// cutLast cuts a path at its last slash. below is false if the path has no slash.
func cutLast(path string) (parent, last string, below bool) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:], true
	}
	return "", path, false
}
