package problem

import (
	"strconv"
	"strings"
	"unicode"
)

// IsHidden reports whether a character is invisible or rearranges other characters. These are
// control characters, format characters (such as those of the bidirectional algorithm, UAX #9),
// separators other than a space, variation selectors, and private-use characters.
func IsHidden(r rune) bool {
	return r != ' ' && (unicode.In(r, unicode.Cc, unicode.Cf, unicode.Z, unicode.Co, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) || !unicode.IsGraphic(r))
}

// OneLine returns a text from a bundle for use in one line of a report. If the text contains hidden
// characters, OneLine quotes it. So the text cannot imitate further lines or another text.
func OneLine(s string) string {
	if strings.IndexFunc(s, IsHidden) < 0 {
		return s
	}
	return strconv.Quote(s)
}

// Excerpt returns the first limit bytes of a text that a server sent, for use in one line. It
// replaces each run of spaces and hidden characters with one space.
func Excerpt(s string, limit int) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || IsHidden(r) }), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
