package problem

import (
	"fmt"
	"strings"
)

// Cause is what several problems have in common: kind, file and reason.
type Cause struct {
	First Problem  // of them
	Count int      // of the problems
	Names []string // REPOSITORY:TAG that they affect, the first ones
	More  int      // further names
}

// maxNames is how many names a cause lists.
const maxNames = 5

// Causes groups problems by kind, file and reason, in their order.
func Causes(problems []Problem) (all []*Cause) {
	type key struct {
		kind         Kind
		path, reason string
		chunk        string
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

// CopyAgain names the chunks to copy again where the reason does not, or is empty.
func (c *Cause) CopyAgain() string {
	if chunk := c.First.Chunk(); chunk != "" && !strings.Contains(c.First.Reason, chunk) {
		return chunk
	}
	return ""
}

// String returns the cause on one line, without the names.
func (c *Cause) String() string {
	text := fmt.Sprintf("%s: %s: %s", c.First.Kind, c.First.Path, c.First.Reason)
	if chunk := c.CopyAgain(); chunk != "" {
		text += ": copy " + chunk + " again"
	}
	return text
}
