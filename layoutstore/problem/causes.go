package problem

import (
	"fmt"
	"strings"
)

// Cause is a group of problems with the same kind, file, reason and chunks.
type Cause struct {
	First Problem  // the first of the problems
	Count int      // number of problems
	Names []string // the first names, as REPOSITORY:TAG, that the problems affect
	More  int      // number of further names
}

// maxNames is how many names a cause lists.
const maxNames = 5

// Causes groups problems by kind, file, reason and chunks, in the order of their first problems.
func Causes(problems []Problem) (all []*Cause) {
	type key struct {
		kind         Kind
		path, reason string
		chunks       string
	}
	known := map[key]*Cause{}
	for _, p := range problems {
		k := key{p.Kind, p.Path, p.Reason, strings.Join(p.Chunks, " ")}
		c := known[k]
		if c == nil {
			c = &Cause{First: p}
			known[k] = c
			all = append(all, c)
		}
		c.Count++
		for _, tag := range p.Tags {
			if len(c.Names) < maxNames {
				c.Names = append(c.Names, p.Repository+":"+tag)
			} else {
				c.More++
			}
		}
		c.More += p.MoreTags
	}
	return all
}

// String returns the cause on one line, without the names.
func (c *Cause) String() string {
	return fmt.Sprintf("%s: %s: %s", c.First.Kind, c.First.Path, c.First.reasonWithChunk())
}
