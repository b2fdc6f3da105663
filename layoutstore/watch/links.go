package watch

import (
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is the maximum number of links to follow, because links may form a circle.
const maxLinks = 40

// links returns all paths at which a change may make p lead to a different file. These are p itself and each
// link on the way to its target. For example, Kubernetes replaces a link far above a mounted file.
func links(p string) []string {
	found := []string{filepath.Clean(p)}
	abs, err := filepath.Abs(p)
	if err != nil {
		return found
	}
	done, rest := string(filepath.Separator), strings.Split(abs, string(filepath.Separator))
	for n := 0; len(rest) > 0 && n < maxLinks; {
		done, rest = filepath.Join(done, rest[0]), rest[1:]
		target, err := os.Readlink(done)
		if err != nil {
			continue // this is not a link, or it is missing
		}
		n++
		found = append(found, done)
		if filepath.IsAbs(target) {
			done = string(filepath.Separator)
		} else {
			done = filepath.Dir(done)
		}
		rest = append(strings.Split(filepath.Clean(target), string(filepath.Separator)), rest...)
	}
	return found
}
