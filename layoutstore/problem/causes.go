package problem

import (
	"fmt"
	"strings"
)

// Cause groups problems that have the same kind, file, reason and chunks.
type Cause struct {
	// First is the first problem in the group.
	First Problem
	// Count is the number of problems in the group.
	Count int
	// Names contains the first of the affected names, as REPOSITORY:TAG.
	Names []string
	// More is the number of affected names that Names omits.
	More int
}

const maxNames = 5

// Causes groups problems that have the same kind, file, reason and chunks. The groups are in the
// order of their first problems.
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

// String returns the kind, file, reason and chunks on one line.
func (c *Cause) String() string {
	return fmt.Sprintf("%s: %s: %s", c.First.Kind, OneLine(c.First.Path), OneLine(c.First.reasonWithChunk()))
}
