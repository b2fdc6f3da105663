package daemon

import (
	"fmt"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// maxWarnings is how many problems the base of the registry API warns of.
const maxWarnings = 3

// warnings returns what the registry warns its clients of: the first problems that lose content,
// each archive and reason once, and how many more there are.
func warnings(problems []layoutstore.Problem) (texts []string) {
	seen, unread := map[string]bool{}, map[string]bool{} // texts, and archives that are named
	for _, p := range problems {
		if !p.IsFailure() || unread[p.Path] {
			continue
		}
		unread[p.Path] = p.TagsUnknown && p.Entry == ""
		text := p.Summary()
		if seen[text] {
			continue
		}
		seen[text] = true
		if len(seen) <= maxWarnings {
			texts = append(texts, text)
		}
	}
	if more := len(seen) - maxWarnings; more > 0 {
		texts = append(texts, fmt.Sprintf("%d more problems: see /status of the admin address", more))
	}
	return texts
}

// warningsNow returns the warnings about the problems that were found last.
func (l *liveTree) warningsNow() []string {
	if known := l.warned.Load(); known != nil {
		return *known
	}
	return nil
}
