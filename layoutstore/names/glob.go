package names

import (
	"path"
	"strings"
)

// MatchGlob reports whether a glob matches the path of a repository. "*", "?" and "[a-z]" match
// within a segment, as in [path.Match]. "**" matches any number of segments, including none. A
// malformed glob matches nothing.
func MatchGlob(glob, repository string) bool {
	return matchSegments(strings.Split(glob, "/"), strings.Split(repository, "/"))
}

func matchSegments(glob, p []string) bool {
	for len(glob) > 0 {
		if glob[0] == "**" {
			for i := range len(p) + 1 {
				if matchSegments(glob[1:], p[i:]) {
					return true
				}
			}
			return false
		}
		if len(p) == 0 {
			return false
		}
		if ok, err := path.Match(glob[0], p[0]); err != nil || !ok {
			return false
		}
		glob, p = glob[1:], p[1:]
	}
	return len(p) == 0
}
