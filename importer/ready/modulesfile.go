package ready

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

// ParseModules parses a list of modules, with one NAME or NAME@CONSTRAINT per line. Empty lines and lines
// that begin with # are skipped. A name may be repeated; then each of its constraints counts.
func ParseModules(file []byte) (map[string]release.Selector, error) {
	var list []string
	lines := bufio.NewScanner(bytes.NewReader(file))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		one, err := release.ParseSelectors([]string{line})
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		for _, s := range one {
			if len(s.Pins) > 0 && s.Pins[0].Channel != "" {
				return nil, fmt.Errorf("line %d: %q: a channel is not allowed in a list of modules, so write %s@=%s", number, line, s.Name, s.Pins[0].Tag)
			}
		}
		list = append(list, line)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return release.ParseSelectors(list)
}
