package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// maxHiding limits how many unreadable archives and indexes an error names.
const maxHiding = 3

// withHiding adds the names of unreadable archives and indexes to an error about unknown content,
// because they may contain it. It does not change an error that already contains the path of a
// file.
func withHiding(err error, s *layoutstore.Snapshot) error {
	var placed *layoutstore.ProblemError
	if errors.As(err, &placed) && placed.Problem.Path != "" {
		return err
	}
	unknown := errors.Is(err, layoutstore.ErrRepositoryUnknown) || errors.Is(err, layoutstore.ErrManifestUnknown) || errors.Is(err, layoutstore.ErrBlobUnknown)
	if !unknown {
		return err
	}
	hiding := s.Hiding()
	if len(hiding) == 0 {
		return err
	}
	var places []string
	for _, p := range hiding[:min(len(hiding), maxHiding)] {
		places = append(places, p.Summary())
	}
	text := strings.Join(places, "; ")
	if more := len(hiding) - maxHiding; more > 0 {
		text += fmt.Sprintf("; and %d more that cannot be read", more)
	}
	return fmt.Errorf("%w: it may be in %s", err, text)
}

// maxWarning limits the size of one warning, in bytes. All warnings of an answer together may
// have 4096 bytes.
const maxWarning = 900

// warning returns the value of a Warning header: the code 299, no agent, and the text in quotes
// (distribution specification 1.1, "Warnings").
func warning(text string) string {
	printable := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	if len(printable) > maxWarning {
		printable = printable[:maxWarning]
	}
	return `299 - "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(printable) + `"`
}
