package problem

import (
	"strconv"
	"strings"
	"unicode"
)

// IsHidden reports whether a character is invisible or rearranges others: a control character, a
// format character of Unicode (such as those of the bidirectional algorithm, UAX #9), a separator
// other than a space, a variation selector, or a private-use character.
func IsHidden(r rune) bool {
	return r != ' ' && (unicode.In(r, unicode.Cc, unicode.Cf, unicode.Z, unicode.Co, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) || !unicode.IsGraphic(r))
}

// OneLine returns a text from a bundle as one line of a report. It quotes a text with hidden
// characters, so that the text cannot imitate further lines or another text.
func OneLine(s string) string {
	if strings.IndexFunc(s, IsHidden) < 0 {
		return s
	}
	return strconv.Quote(s)
}

// Excerpt returns the beginning of a text that a server sent, for use in one line: at most limit
// bytes, with one space in place of each run of spaces and hidden characters.
func Excerpt(s string, limit int) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || IsHidden(r) }), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
