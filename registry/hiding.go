package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// maxHiding is how many unreadable archives and indexes an error names.
const maxHiding = 3

// withHiding adds to an error about unknown content the archives and indexes that cannot be
// read, because they may contain it. It does not change an error that already names a place.
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

// maxWarning limits one warning, in bytes. All warnings of an answer may have 4096.
const maxWarning = 900

// warning returns the value of a Warning header (distribution specification 1.1, "Warnings"): the
// code 299, no agent, and the text in quotes.
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
