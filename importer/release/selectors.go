package release

import (
	"fmt"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// Selector is the name of a module, package or plugin, with a selection of its versions.
type Selector struct {
	Name string
	All  bool // whether the name was given at least once without a constraint

	Ranges []*Constraint // constraints that select versions by ranges

	Pins []*Constraint // constraints that select exact tags
}

func (s Selector) String() string {
	words := []string{s.Name}
	for _, c := range slices.Concat(s.Ranges, s.Pins) {
		words = append(words, s.Name+"@"+c.Text)
	}
	if len(words) > 1 {
		words = words[1:]
	}
	return strings.Join(words, ", ")
}

// IsPinned reports whether only exact tags are selected, so that no release channel is needed.
func (s Selector) IsPinned() bool { return len(s.Pins) > 0 && len(s.Ranges) == 0 && !s.All }

// ParseSelectors parses a list of NAME or NAME@CONSTRAINT. A name may be repeated. The keys of the
// result are the names.
func ParseSelectors(list []string) (all map[string]Selector, err error) {
	all = map[string]Selector{}
	for _, expression := range list {
		name, text, ok := strings.Cut(expression, "@")
		name = strings.TrimSpace(name)
		if !IsName(name) {
			return nil, fmt.Errorf("%q: want NAME or NAME@CONSTRAINT", expression)
		}
		s := all[name]
		s.Name = name
		if !ok {
			s.All = true
		} else if c, err := ParseConstraint(text); err != nil {
			return nil, err
		} else if len(c.Ranges) == 0 {
			s.Pins = append(s.Pins, c)
		} else {
			s.Ranges = append(s.Ranges, c)
		}
		all[name] = s
	}
	return all, nil
}

// IsName reports whether s can name a module, a package or a plugin. Such a name is one segment of
// a repository's name.
func IsName(s string) bool { return names.IsRepository(s) && !strings.Contains(s, "/") }
