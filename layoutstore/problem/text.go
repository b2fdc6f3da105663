package problem

import (
	"strconv"
	"strings"
	"unicode"
)

// IsHidden reports whether a character is invisible or moves others: a control character, one of
// Unicode's format characters (among them those of the bidirectional algorithm, UAX #9), a
// separator other than a space, a variation selector, or one of private use.
func IsHidden(r rune) bool {
	return r != ' ' && (unicode.In(r, unicode.Cc, unicode.Cf, unicode.Z, unicode.Co, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) || !unicode.IsGraphic(r))
}

// OneLine returns a text of a bundle as one line of a report: if it has hidden characters it is
// quoted, so that it cannot imitate further lines or another text.
func OneLine(s string) string {
	if strings.IndexFunc(s, IsHidden) < 0 {
		return s
	}
	return strconv.Quote(s)
}

// Excerpt returns the beginning of a text that a server sent as part of one line: at most limit
// bytes, with a space for each run of spaces and hidden characters.
func Excerpt(s string, limit int) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || IsHidden(r) }), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
