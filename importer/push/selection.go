package push

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Selection selects the repositories of a tree to push, and decides their names in the registry.
type Selection struct {
	// Include and Exclude are globs for paths below the root. "*" matches anything within one
	// segment, "**" any number of segments, and "." the root layout. A glob also matches everything
	// below the paths that it matches. An empty Include matches everything.
	Include, Exclude []string
	// ModulesPath replaces the leading segment "modules" in the registry. "/" is the destination
	// itself. If ModulesPath is empty, "modules" stays.
	ModulesPath string
	// NoEditionSplit means that the installer and the d8 program are pushed below the destination,
	// even if it ends in an edition. By default, they are pushed beside such a destination: see
	// package edition.
	NoEditionSplit bool
}

// Check fails if a glob is malformed.
func (s Selection) Check() error {
	for _, glob := range slices.Concat(s.Include, s.Exclude) {
		if _, err := path.Match(strings.ReplaceAll(glob, "**", "*"), "x"); err != nil || glob == "" {
			return fmt.Errorf("malformed glob %q", glob)
		}
	}
	return nil
}

// Has reports whether the repository at a path is selected.
func (s Selection) Has(p string) bool {
	matches := func(glob string) bool { // reports whether glob matches the path or one of its parents
		return names.MatchGlob(strings.Trim(glob, "/")+"/**", p)
	}
	included := len(s.Include) == 0 || slices.ContainsFunc(s.Include, matches)
	return included && !slices.ContainsFunc(s.Exclude, matches)
}

// Name returns the name in the registry for a path of the tree. It is empty if neither the path nor
// the destination has a name.
func (s Selection) Name(to client.Reference, p string) string {
	split := edition.Of(to.Path)
	if s.NoEditionSplit {
		split = edition.Unsplit(to.Path)
	}
	to.Path = split.Base(p)
	return to.Repository(s.target(p))
}

// target returns the path in the registry for a path of the tree. It is relative to the base that
// package edition chooses for the path.
func (s Selection) target(p string) string {
	if s.ModulesPath == "" || p != "modules" && !strings.HasPrefix(p, "modules/") {
		return p
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(p, "modules"), "/")
	p = strings.Trim(path.Join(strings.Trim(s.ModulesPath, "/"), rest), "/")
	if p == "" {
		return "."
	}
	return p
}
